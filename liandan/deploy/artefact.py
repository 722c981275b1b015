"""A folder that predicts by itself: a graph, the preprocessing, the labels, and artefact.json, which tells what was proven and of what."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from liandan.deploy.graph import Session
from liandan.doctor.cpu import usable_cores
from liandan.runs import store
from liandan.runs.layout import Layout, RunError, find
from liandan.runtime.device import Device, fast_bfloat16
from liandan.runtime.judge import evaluate_split
from liandan.runtime.opened import OpenRun, Predictor, best_checkpoint, described, open_run

MANIFEST, PREPROCESSING, LABELS = "artefact.json", "preprocessing.json", "labels.json"
FORMAT = 1
# format -> module with write, quantize, start, FILES and the packages that each of them needs
GRAPHS = {
    "onnx": "liandan.deploy.onnx_runtime",
    "openvino": "liandan.deploy.open_vino",
}


class ArtefactError(Exception):
    """A folder that cannot be opened as an artefact; the text says what can be done."""


class Altered(ArtefactError):
    """Files of an artefact are not those that were proven."""


@dataclass
class Artefact(Predictor):
    """A graph in its runtime; predicts as the run does from which it was made.

    Attributes:
        facts: artefact.json: `format`, `int8`, `precision`, `varies`, `checkpoint`, `proof` and what opening it needs.
    """

    folder: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """What it is called: onnx, openvino-int8."""
        return called(self.facts["format"], self.facts["int8"])

    def evaluate(
        self, data: str | Mapping[str, Any] | None = None, split: str | None = None, batch_size: int | None = None
    ) -> dict[str, float]:
        """Judge a split of its run's recipe, or other data, as the run is judged; writes evaluation/<split>/ into the folder.

        Raises:
            RunError: the folder was moved away from its run, which knows the data and how it is judged.
        """
        run = self.folder.absolute().parents[1]
        if not Layout(run).is_run():
            raise RunError(f"{self.folder} lies in no run's export/, and the run knows how it is judged; evaluate it there")
        opened = open_run(Layout(run))
        source, named = opened.source(data, split)
        loader, plan = opened.unaugmented(source)
        return evaluate_split(Layout(self.folder), self, loader, named, batch_size or plan.evaluate_batch_size)


def called(format: str, int8: bool) -> str:
    """The name of an artefact, and of its folder in a run's export/."""
    return f"{format}-int8" if int8 else format


def is_artefact(folder: Path) -> bool:
    """Whether a folder holds an artefact, whole or not."""
    return (folder / MANIFEST).is_file()


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """artefact.json, last: with size and sha256 of every file of the folder, and of its own text."""
    inside = sorted(file for file in folder.iterdir() if file.is_file() and file.name != MANIFEST)
    files = {file.name: {"size": file.stat().st_size, "sha256": sha256(file)} for file in inside}
    body = {"version": FORMAT, **facts, "files": files}
    store.write_json_atomic(folder / MANIFEST, {**body, "sha256": _digest(body)})


def read_manifest(folder: Path, contents: bool = True) -> dict[str, Any]:
    """artefact.json, believed only when it and, unless `contents` is False, the files are what was written.

    Raises:
        ArtefactError: there is none, or of another version. Altered: it or a file is another.
    """
    if not is_artefact(folder):
        raise ArtefactError(f"{folder} holds no {MANIFEST}: it is no artefact; `liandan export RUN --to {','.join(GRAPHS)}` makes one")
    again = "export it again"
    try:
        facts = store.read_json(folder / MANIFEST)
        own = facts.pop("sha256")
        files = facts["files"].items()
    except (store.StoreError, AttributeError, KeyError, TypeError) as error:
        raise Altered(f"{folder / MANIFEST} cannot be read as what was written ({error}); {again}") from error
    if facts.get("version") != FORMAT:
        raise ArtefactError(f"{folder} has version {facts.get('version')!r}, this liandan reads {FORMAT}; {again}")
    if own != _digest(facts):
        raise Altered(f"{folder / MANIFEST} was altered; {again}")
    for name, entry in files if contents else ():
        file = folder / name
        if Path(name).name != name or not file.is_file() or file.stat().st_size != entry["size"] or sha256(file) != entry["sha256"]:
            raise Altered(f"{file} is not the file that was proven: it is missing, or its sha256 is another; {again}")
    return facts


def open_artefact(folder: Path, threads: int | None = None) -> Artefact:
    """An artefact from its folder alone.

    Args:
        threads: of the runtime; None: a thread for each usable core.

    Raises:
        ArtefactError: it is none, its runtime is not installed, or the runtime refuses it. Altered: a file is not what was proven.
    """
    facts = read_manifest(folder)
    module = graph_module(facts["format"])
    require(facts["format"], module.COMPUTES)
    task, pipeline = described(facts["task"], None, store.read_json(folder / LABELS), store.read_json(folder / PREPROCESSING))
    task.ask(facts["metrics"], facts["tta"])
    return Artefact(task, start(folder, facts, threads), pipeline, Device("cpu"), folder, facts)


def start(folder: Path, facts: dict[str, Any], threads: int | None = None) -> Session:
    """The graph of a folder in its runtime, called as a model."""
    # what was proven in bfloat16 is slow, not wrong, where the processor has none: there it is computed in float32
    precision = facts["precision"] if fast_bfloat16("cpu") else "f32"
    try:
        answer = graph_module(facts["format"]).start(folder, facts["shapes"], facts["pinned"], threads or usable_cores(), precision)
    except Exception as error:  # the runtimes' own, of no common kind
        text = str(error).strip().partition("\n")[0]
        raise ArtefactError(f"{folder}: {facts['format']} cannot load it here ({text}); export it again here") from error
    return Session(answer, facts["outputs"], facts["returns"])


def graph_module(format: str) -> ModuleType:
    """The module of a format of GRAPHS."""
    return importlib.import_module(GRAPHS[format])


def require(format: str, packages: Sequence[str]) -> None:
    """Raise ArtefactError where a package that a format needs is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ArtefactError(f"format {format} needs {' and '.join(missing)}, not installed here: pip install 'liandan[deploy]'")


def artefacts(layout: Layout) -> list[Path]:
    """The artefacts in a run's export/, by name."""
    folder = layout.export("onnx").parent
    return sorted(inside for inside in folder.iterdir() if is_artefact(inside)) if folder.is_dir() else []


def fastest_proven(layout: Layout) -> Path | None:
    """The artefact that a server of this run should use: whole, of the run's present checkpoint, not kept by force, its runtime installed,
    and at batch 1 the fastest in proportion to the run's own model, as its proof says; None where none is faster than the run itself."""
    checkpoint, found = checkpoint_of(best_checkpoint(layout)), []
    for folder in artefacts(layout):
        try:
            facts = read_manifest(folder)
            require(facts["format"], graph_module(facts["format"]).COMPUTES)
        except ArtefactError:
            continue
        proof = facts["proof"]
        ratio = proof["latency_ms"]["1"] / proof["own"]["latency_ms"]["1"]
        if facts["checkpoint"] == checkpoint and not facts["forced"] and ratio < 1:
            found.append((ratio, folder))
    return min(found)[1] if found else None


def checkpoint_of(folder: Path) -> dict[str, str]:
    """{name, sha256 of its manifest} of a checkpoint: which weights an artefact was made of."""
    return {"name": folder.name, "sha256": sha256(folder / store.MANIFEST)}


def open_predictor(target: str | Path) -> OpenRun | Artefact:
    """What predicts: an artefact's folder, or a run directory, a run's name, or `last`.

    Raises:
        ArtefactError, RunError: it cannot be opened.
    """
    return open_artefact(Path(target)) if is_artefact(Path(target)) else open_run(find(str(target)))


def sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
