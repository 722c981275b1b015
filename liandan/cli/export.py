"""liandan export"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from liandan.cli.output import JSON, result, say, table


def command(
    target: str = typer.Argument(help="A run directory, a run's name, or last."),
    to: str = typer.Option(..., "--to", help="Formats: hf (a folder that transformers loads), onnx, openvino; several as onnx,openvino."),
    quantize: str = typer.Option(None, "--quantize", help="int8: each graph in int8, too, calibrated on the run's training split."),
    max_drop: float = typer.Option(0.5, "--max-drop", min=0, help="Points (hundredths) of the run's best metric that int8 may lose."),
    force: bool = typer.Option(False, "--force", help="Keep, and mark, int8 that is slower or loses more than --max-drop."),
    out: str = typer.Option(None, "--out", help="The folder to write, with several formats one that holds a folder for each."),
    as_json: bool = JSON,
) -> None:
    """Write a run in formats that other programs read, and prove that each is the same model: size, speed, judgement, difference.

    Exit code 3: an int8 artefact is slower than the float one, or loses too much, and was not kept."""
    from liandan.deploy.export import ExportError, NotWorthIt, export
    from liandan.runs.layout import find

    if quantize not in (None, "int8"):
        raise ExportError(f"--quantize: expected int8, received {quantize}")
    formats = list(dict.fromkeys(name.strip() for name in to.split(",")))
    show = result if as_json else tables
    try:
        made = export(
            find(target), formats, Path(out) if out else None, int8=bool(quantize), force=force, max_drop=max_drop, warn=say
        )  # fmt: skip
    except NotWorthIt as refused:
        show(refused.rows)
        raise
    show(made)


def tables(rows: list[dict[str, Any]]) -> None:
    """Graphs beside the run's own model in one table, other folders in another."""
    graphs = [graph(row, rows[0]) for row in rows if "latency_ms" in row]
    others = [row for row in rows if "latency_ms" not in row]
    for shown in (graphs, others):
        if shown:
            table(shown, list(dict.fromkeys(key for row in shown for key in row)))
    for row in rows:
        if "path" in row:
            say(f"{row['format']}: {row['path']}")


def graph(row: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A row of the table for a person."""
    one, many = row["latency_ms"].values()
    faster = own["latency_ms"]["1"] / one
    return {
        "format": row["format"],
        "computed in": row["precision"],
        "size": f"{row['bytes'] / 1e6:.1f} MB",
        "batch 1": f"{one:.2f} ms",
        "batch 16": f"{many:.1f} ms",
        "samples/s": f"{row['samples_per_second']:.0f}",
        "faster": f"{faster:.1f} x",
        row["metric"]: None if row["value"] is None else f"{row['value']:.4f}",
        "difference": None if row["largest_difference"] is None else f"{row['largest_difference']:.2g}",
        "same at batch": ", ".join(map(str, row["verified"] or ())),
        "": "refused" if row["refused"] else "kept by force" if row.get("forced") else "",
    }
