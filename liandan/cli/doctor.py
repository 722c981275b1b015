"""liandan doctor"""

from __future__ import annotations

import typer

from liandan.cli.output import JSON


def command(
    install: bool = typer.Option(False, "--install", help="Only print the commands that install liandan here; they are not run."),
    as_json: bool = JSON,
) -> None:
    """Is this machine ready? Facts, judgment and what to do, line by line; exit code 1 when something must be mended."""
    from liandan.doctor.report import report

    text, code = report(as_json=as_json, install=install)
    print(text)
    raise typer.Exit(code)
