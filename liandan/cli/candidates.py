"""liandan bench --data: language models beside one another, on one's own data."""

from __future__ import annotations

from typing import Any

import typer

from liandan.cli.output import error, number, result, say, table


def beside(targets: list[str], data: str, *, limit: int, answers: int, few_shot: str | None, as_json: bool, quiet: bool) -> None:
    """Judge and show them; exit code 1 when one cannot be judged."""
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
