"""liandan recipe show | check | list | schema"""

from __future__ import annotations

import typer

from liandan.cli.output import JSON, result

app = typer.Typer(help="Recipes: show, check, list, schema.", no_args_is_help=True, rich_markup_mode=None)
_TARGET = typer.Argument(help="A recipe file, a shipped name, or plain data.")
_OVERRIDES = typer.Argument(None, metavar="[KEY=VALUE]...")


@app.command("show")
def show(
    target: str = _TARGET,
    overrides: list[str] = _OVERRIDES,
    describe: bool = typer.Option(False, "--describe", help="With each field's description."),
    as_json: bool = JSON,
) -> None:
    """The whole recipe, with every default."""
    from liandan import api
    from liandan.recipe import to_yaml

    recipe, _ = api.recipe_of(target, overrides or [])
    if as_json:
        result(recipe.model_dump(mode="json"))
    else:
        print(to_yaml(recipe, describe=describe), end="")


@app.command("check")
def check(target: str = _TARGET, overrides: list[str] = _OVERRIDES, as_json: bool = JSON) -> None:
    """Every fault at once: file and line, what was expected, what was received. Exit code 2 when there is one."""
    from dataclasses import asdict

    from liandan import api
    from liandan.engine import session
    from liandan.recipe import RecipeError

    try:
        session.check(api.recipe_of(target, overrides or [])[0])
    except RecipeError as error:
        if as_json:
            result([asdict(fault) for fault in error.faults])
            raise typer.Exit(2) from None
        raise
    if as_json:
        result([])
    else:
        print(f"{target}: no faults")


@app.command("list")
def list_(as_json: bool = JSON) -> None:
    """The shipped recipes."""
    from liandan.recipe import shipped

    names = shipped()
    if as_json:
        result(names)
    else:
        print("\n".join(names))


@app.command("schema")
def schema() -> None:
    """The recipe's JSON schema, for editors."""
    from liandan.recipe import json_schema

    result(json_schema())
