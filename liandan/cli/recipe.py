"""liandan recipe show | check | convert | list | schema"""

from __future__ import annotations

import typer

from liandan.cli.output import JSON, result, table

app = typer.Typer(help="Recipes: show, check, convert, list, schema.", no_args_is_help=True, rich_markup_mode=None)
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


@app.command("convert")
def convert(
    target: str = typer.Argument(help="A Python config; or the type of a backbone, such as EfficientNet."),
    overrides: list[str] = _OVERRIDES,
    as_json: bool = JSON,
) -> None:
    """The YAML of a Python config, which is read and never run; or which model each variant of a backbone type is."""
    if not target.lower().endswith(".py"):
        return tell_backbone(target, as_json)
    from liandan.recipe import load_recipe, to_yaml

    document = load_recipe(target, overrides or []).document
    if as_json:
        result({"recipe": document.values, "notes": list(document.notes)})
        return
    for note in document.notes:
        print("# " + "".join(character if character.isprintable() else "?" for character in note))
    print(to_yaml(document.values), end="")


def tell_backbone(kind: str, as_json: bool) -> None:
    """The variants of a backbone type as a table."""
    from liandan.recipe import variants

    found = variants(kind)
    if as_json:
        result({"type": kind, "variants": found.rows, "why": found.why})
        return
    if found.rows:
        table(found.rows, list(found.rows[0]))
    if found.why:
        print(found.why)


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
