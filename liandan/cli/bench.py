"""liandan bench"""

from __future__ import annotations

from typing import Any

import typer

from liandan.cli.output import JSON, QUIET, error, number, result, say, table


def command(
    targets: list[str] = typer.Argument(help="Language models: runs, hf/<folder or hub id>, folders of transformers, .gguf."),
    data: str = typer.Option(..., "--data", help="Your data: text, questions with answers, or questions with choices."),
    limit: int = typer.Option(500, "--limit", min=0, help="Samples judged at most, spread evenly over the data; 0: all."),
    answers: int = typer.Option(50, "--answers", min=0, help="Of questions with answers: at most so many are answered and judged."),
    few_shot: str = typer.Option(None, "--few-shot", help="Show the examples of this file before each question."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Which model to begin from: quality on your data, speed and memory of several, in one table. Exit code 1 when one cannot be judged."""
    from liandan.studies.candidates import compare

    def told(row: dict[str, Any]) -> None:
        if not quiet:
            say(f"{row['target']}: " + (f"cannot be judged: {row['error']}" if "error" in row else "judged"))

    rows = compare(targets, data, limit=limit, answers=answers, few_shot=few_shot, watch=told)
    if as_json:
        result(rows)
    else:
        side_by_side(rows)
    if any("error" in row for row in rows):
        error("a model could not be judged")
        raise typer.Exit(1)


def side_by_side(rows: list[dict[str, Any]]) -> None:
    """A column a model, a line a figure."""
    names = [row["target"] for row in rows]
    figures = list(dict.fromkeys(name for row in rows for name in row if name != "target"))
    table([{"": title(name), **{row["target"]: cell(name, row.get(name)) for row in rows}} for name in figures], ["", *names])


def title(name: str) -> str:
    """A figure's name for a person, with its unit."""
    return {
        "peak_memory": "peak memory (MB)", "prefill_tokens_per_second": "reading (tokens/s)",
        "decode_tokens_per_second": "writing (tokens/s)", "bytes_per_token": "bytes a token",
    }.get(name, name)  # fmt: skip


def cell(name: str, value: Any) -> str:
    if name == "peak_memory" and value is not None:
        return f"{value / 1e6:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else number(value)
