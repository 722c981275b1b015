"""liandan bench"""

from __future__ import annotations

import typer

from liandan.cli.candidates import beside
from liandan.cli.output import JSON, QUIET


def command(
    targets: list[str] = typer.Argument(help="Language models: runs, hf/<folder>, folders of transformers."),
    data: str = typer.Option(..., "--data", help="Your data: text, questions with answers, or questions with choices."),
    limit: int = typer.Option(500, "--limit", min=0, help="Samples judged at most, spread evenly over the data; 0: all."),
    answers: int = typer.Option(50, "--answers", min=0, help="Of questions with answers: at most so many are answered and judged."),
    few_shot: str = typer.Option(None, "--few-shot", help="Show the examples of this file before each question."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Which language model to begin from: quality on your data, speed and memory of several, in one table."""
    beside(targets, data, limit=limit, answers=answers, few_shot=few_shot, as_json=as_json, quiet=quiet)
