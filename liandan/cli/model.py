"""liandan model list | get | summary"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from liandan.cli.data import PLACE, catalogue, fetch
from liandan.cli.output import JSON, QUIET, result, table

app = typer.Typer(help="Models: list, get, summary.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(
    pattern: str = typer.Argument(None, help="Shell wildcard, such as 'timm/resnet*'."),
    weights: bool = typer.Option(False, "--weights", help="What `model get` can fetch."),
    as_json: bool = JSON,
) -> None:
    """Names of models."""
    if weights:
        catalogue("weights", as_json)
        return
    from liandan import models

    names = models.names(pattern)
    if as_json:
        result(names)
    else:
        print("\n".join(names))


@app.command("get")
def get(
    name: str = typer.Argument(help="A name of `model list --weights`."),
    words: list[str] = typer.Argument(None, metavar="[FOLDER]", help=PLACE),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Fetch weights by any way that works and verify them."""
    fetch(name, words or [], as_json, quiet)


@app.command("summary")
def summary(
    name: str = typer.Argument(help="A model's name; hf/ with a folder, a .gguf file or the id of a hub."),
    overrides: list[str] = typer.Argument(
        None,
        metavar="[KEY=VALUE]...",
        help="Arguments of its builder, such as num_classes=10; size=224 sets the input, weights=FILE tells what of a file fits.",
    ),
    as_json: bool = JSON,
) -> None:
    """Layers, output shapes, parameters, multiply-accumulates for one sample, and receptive fields in pixels."""
    from liandan import models
    from liandan.models.summary import example
    from liandan.models.summary import summary as summarize
    from liandan.models.weights import load_weights
    from liandan.recipe.scalars import resolve
    from liandan.runtime.weights import local

    name = local(name)
    arguments: dict[str, Any] = {key: resolve(value) for key, _, value in (item.partition("=") for item in overrides or [])}
    size = arguments.pop("size", None) if not models.accepts(name, "size") else arguments.get("size")
    weights = arguments.pop("weights", None)
    model = models.build(name, **arguments)
    report = load_weights(model, str(weights)) if weights is not None else None
    found = summarize(model, example(name, model, size))
    if as_json:
        result(found.to_json() | ({"weights": asdict(report)} if report else {}))
        return
    table([row.to_json() for row in found.rows], ["name", "type", "output", "parameters", "macs", "field"])
    sees = f", receptive field {found.field} pixels" if found.field else ""
    print(f"{found.parameters:,} parameters, {found.macs:,} multiply-accumulates a sample{sees}")
    if report:
        print(f"{weights}: {report}")
