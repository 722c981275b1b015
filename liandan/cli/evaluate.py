"""liandan evaluate"""

from __future__ import annotations

from pathlib import Path

import typer

from liandan.cli.output import JSON, QUIET, result, table


def command(
    targets: list[str] = typer.Argument(help="Run directories, run names, last, or folders of exported artefacts in a run's export/."),
    data: str = typer.Option(None, "--data", help="Judge this data instead: a path, or '{path: list.txt, classes: classes.txt}'."),
    split: str = typer.Option(None, "--split", help="val (the default), test or train of the run; a name for --data, its own by default."),
    batch_size: int = typer.Option(None, "--batch-size", min=1, help="Samples judged at once; the run's own by default."),
    tta: str = typer.Option(None, "--tta", help="Average over these views, too, such as hflip or hflip,vflip; written to <split>-tta."),
    answers: int = typer.Option(200, "--answers", min=0, help="Of a run that answers: at most so many of its answers are judged, too."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Judge runs: the numbers that training printed, on the same samples; written to evaluation/<split>/."""
    from liandan import api
    from liandan.deploy.artefact import is_artefact, open_artefact
    from liandan.recipe import read_value

    asked = read_value(data, "--data") if data and data.startswith("{") else data
    found = []
    for target in targets:
        if is_artefact(Path(target)):
            if tta:
                raise typer.BadParameter(f"{target} is an artefact, which keeps the views of its run", param_hint="--tta")
            found.append({"run": target, **open_artefact(Path(target)).evaluate(asked, split, batch_size)})
            continue
        run = api.open_run(target)
        views = tta.split(",") if tta else ()
        found.append({"run": str(run.path), **run.evaluate(asked, split=split, batch_size=batch_size, tta=views, answers=answers)})
    if as_json:
        result(found if len(found) > 1 else found[0])
    elif not quiet:
        table(found, list(dict.fromkeys(key for row in found for key in row)))
