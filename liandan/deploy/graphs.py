"""ONNX and OpenVINO: trace a run's model once, write it, quantize it, prove it, and put beside it what predicting needs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from liandan import __version__
from liandan.deploy import prove, quantize
from liandan.deploy.artefact import (
    LABELS,
    PREPROCESSING,
    ArtefactError,
    called,
    checkpoint_of,
    graph_module,
    require,
    start,
    write_manifest,
)
from liandan.deploy.export import ExportError, Say, Unfaithful, weight
from liandan.deploy.graph import Graph, GraphError, trace
from liandan.doctor.cpu import cpu, usable_cores
from liandan.runs import store
from liandan.runs.layout import RunError
from liandan.runtime.device import Device, fast_bfloat16
from liandan.runtime.opened import DataError, OpenRun

OWN = "run"  # what the table calls the run's own model
_BOUND = {"f32": 1e-3, "bf16": 5e-2}  # largest difference of two outputs, as a fraction of the largest


@dataclass
class Made:
    """A graph that was written and is still to be proven."""

    folder: Path
    facts: dict[str, Any]

    @property
    def precision(self) -> str:
        """What most of it is computed in: f32, bf16 or int8."""
        return "int8" if self.facts["int8"] else self.facts["precision"]

    @property
    def of_floats(self) -> str:
        """The name of the float artefact of the same format."""
        return called(self.facts["format"], False)


def write_graphs(
    run: OpenRun, formats: Sequence[str], folder: Callable[[str], Path], int8: bool, force: bool, max_drop: float, say: Say
) -> list[dict[str, Any]]:
    """Artefacts of a run in empty folders, with what was measured of them.

    Args:
        folder: makes the folder of an artefact's name.

    Returns:
        A row for the run's own model, in float32 as torch computes it, and one for each artefact; `refused` says why one is not to be kept.

    Raises:
        ExportError: the run has no graph, or int8 has nothing to be calibrated on. Unfaithful: a graph is another model.
    """
    for name in formats:
        module = graph_module(name)
        try:
            require(name, (*module.WRITES, *module.COMPUTES, *(module.QUANTIZES if int8 else ())))
        except ArtefactError as error:
            raise ExportError(str(error)) from error
    run.merge_adapter()
    run.device = Device("cpu")
    with _all_cores(), _quiet():
        run.model = run.model.float().cpu().to(memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue]
        try:
            graph = trace(run.task, run.model)
        except GraphError as error:
            raise ExportError(f"a run of {run.recipe.task} is no graph of tensors: {error}") from error
        say(f"the sizes that may vary are {', '.join(graph.varies)}")
        made = _write(run, graph, formats, folder, int8)
        run.model = run.device.place(run.model)
        data = prove.Data(run)
        if data.missing:
            say(f"WARNING: nothing is judged, {data.missing}")
        rows = _prove(run, data, made)
    for name, one in made.items():
        row = rows[name]
        if one.facts["int8"]:
            reason = quantize.refusal(row, rows[one.of_floats], rows[OWN], data.best[1], max_drop)
            row["refused"], row["forced"] = ("", reason) if force else (reason, "")
            one.facts["forced"] = row["forced"]
        _finish(run, one, row, rows[OWN])
    return list(rows.values())


def _write(run: OpenRun, graph: Graph, formats: Sequence[str], folder: Callable[[str], Path], int8: bool) -> dict[str, Made]:
    size = run.pipeline.describe().get("size", ())
    facts = {
        "task": run.recipe.task, "run": run.layout.name, "checkpoint": checkpoint_of(run.checkpoint),
        "shapes": graph.shapes, "outputs": graph.outputs, "returns": graph.returns, "varies": graph.varies,
        "pinned": {name: n for name, n in zip(("height", "width"), size, strict=False) if name in graph.varies},
        "metrics": run.task.asked, "tta": run.task.tta, "forced": "",
    }  # fmt: skip
    made: dict[str, Made] = {}
    for format in formats:
        at = folder(called(format, False))
        graph_module(format).write(graph, at)
        # an accelerator's own precision is part of what is proven
        precision = "bf16" if format == "openvino" and fast_bfloat16("cpu") else "f32"
        made[called(format, False)] = Made(at, {"format": format, "int8": False, "precision": precision, **facts})
    if int8:
        try:
            samples = quantize.calibration(run)
        except (RunError, DataError, ValueError) as error:
            raise ExportError(f"int8 is calibrated on the run's training split: {error}") from error
        for format in formats:
            floats, at = made[called(format, False)], folder(called(format, True))
            graph_module(format).quantize(floats.folder, at, samples, graph.attends)
            made[called(format, True)] = Made(at, {**floats.facts, "int8": True})
    return made


def _prove(run: OpenRun, data: prove.Data, made: dict[str, Made]) -> dict[str, dict[str, Any]]:
    """{name: row}, the run's own first."""
    sessions = {name: start(one.folder, one.facts) for name, one in made.items()}
    verified = {}
    for name, one in made.items():
        try:
            verified[name] = prove.verify(run, sessions[name], data, None if one.facts["int8"] else _BOUND[one.facts["precision"]])
        except prove.Unlike as error:
            raise Unfaithful(f"{name} is not the same model: {error}") from error
    values: dict[str, float | None] = {OWN: data.judge(run.model)}
    for name, session in sessions.items():
        beside = prove.Beside(session, run.model)
        values[name] = data.judge(beside)
        verified[name] = max(verified[name], beside.largest)

    def called_with(model: torch.nn.Module) -> Callable[[prove.Inputs], Any]:
        return lambda inputs: run.task.forward(model, inputs)

    with torch.no_grad():
        figures = prove.time_them({name: called_with(model) for name, model in {OWN: run.model, **sessions}.items()}, data.inputs)
    weights = sum(tensor.nbytes for tensor in run.model.state_dict().values())
    return {
        name: {
            "format": name, "precision": made[name].precision if name in made else "f32",
            "bytes": weight(made[name].folder) if name in made else weights, **asdict(figures[name]),
            "metric": data.metric, "value": values[name], "largest_difference": verified.get(name),
            "verified": list(prove.VERIFIED) if name in made else None, "refused": "",
        }
        for name in figures
    }  # fmt: skip


def _finish(run: OpenRun, made: Made, row: dict[str, Any], own: dict[str, Any]) -> None:
    """Write what predicting needs beside a graph, and artefact.json with its proof."""
    store.write_json_atomic(made.folder / PREPROCESSING, run.pipeline.to_json())
    store.write_json_atomic(made.folder / LABELS, run.task.labels)
    module = graph_module(made.facts["format"])
    measured = ("latency_ms", "samples_per_second", "value")
    proof = {
        **{key: row[key] for key in (*measured, "metric", "largest_difference", "verified")},
        "own": {key: own[key] for key in measured},
        "threads": usable_cores(), "processor": cpu()["name"],
        "versions": {"liandan": __version__, **{name: importlib.metadata.version(name) for name in ("torch", *module.COMPUTES)}},
    }  # fmt: skip
    write_manifest(made.folder, {**made.facts, "proof": proof})


@contextlib.contextmanager
def _all_cores() -> Iterator[None]:
    """torch on as many threads as the runtimes get."""
    before = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks on how they do it."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
