"""liandan bench"""

from __future__ import annotations

from typing import Any

import typer

from liandan.cli.output import JSON, QUIET, error, number, result, say, table


def command(
    targets: list[str] = typer.Argument(
        help="Runs: directories, names, or last; with --data language models: hf/<folder or hub id>, folders of transformers, .gguf, too."
    ),
    clients: str = typer.Option("1,8,32", "--clients", help="So many at once ask a server of the run; none leaves the server out."),
    data: str = typer.Option(None, "--data", help="Judge language models on your data: text, questions with answers, or with choices."),
    limit: int = typer.Option(500, "--limit", min=0, help="Samples judged at most, spread evenly over the data; 0: all."),
    answers: int = typer.Option(50, "--answers", min=0, help="Of questions with answers: at most so many are answered and judged."),
    few_shot: str = typer.Option(None, "--few-shot", help="Show the examples of this file before each question."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """How fast: latency and throughput of runs, of every artefact made of them, and of a server. With --data: which language model to
    begin from, quality on your data, speed and memory of several. Exit code 1 when one cannot be judged."""
    if data is None:
        speed(targets, numbers(clients), as_json, quiet)
    else:
        quality(targets, data, limit, answers, few_shot, as_json, quiet)


def speed(targets: list[str], clients: list[int], as_json: bool, quiet: bool) -> None:
    """Runs one after the other."""
    from liandan.deploy import bench
    from liandan.runs.layout import find
    from liandan.runtime.opened import open_run

    def told(text: str) -> None:
        if not quiet:
            say(text)

    kept = {}
    for target in targets:
        run = open_run(find(target), warn=say)
        rows = bench.models(run, told)
        rows += bench.server(run, clients, told) if clients else []
        kept[str(run.layout.root)] = rows
        if not as_json:
            say(str(run.layout.root))
            table([latency(row) for row in rows], ["", "at once", "p50 ms", "p90 ms", "p99 ms", "a second", "failed"])
    if as_json:
        result([{"run": run, **row} for run, rows in kept.items() for row in rows])


def latency(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table for a person."""
    server = "clients" in row
    count = row["clients"] if server else row["batch"]
    return {
        "": f"server ({row['artefact']})" if server else row["what"],
        "at once": f"{count} {'client' if server else row['unit']}{'s' if count > 1 else ''}",
        **{f"{p} ms": f"{row[f'{p}_ms']:.2f}" for p in ("p50", "p90", "p99")},
        "a second": f"{row['per_second']:.1f} {row['unit']}s",
        "failed": row.get("failed") or "",
    }


def numbers(text: str) -> list[int]:
    """`1,8,32` as numbers; exit code 2 for what is not."""
    if text.strip() in ("", "0", "none"):
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= 1024 for part in parts):
        error(f"bench: expected --clients: numbers from 1 to 1024 such as 1,8,32, or none; received {text}")
        raise typer.Exit(2)
    return [int(part) for part in parts]


def quality(targets: list[str], data: str, limit: int, answers: int, few_shot: str | None, as_json: bool, quiet: bool) -> None:
    """Which language model to begin from."""
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
