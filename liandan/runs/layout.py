"""The run directory (format 1): where everything of a run lies, how a run is made and how one is found again.

This is the only file that builds paths inside a run.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

RUNS = Path("runs")
STEP_FOLDER = re.compile(r"step-(\d{8,})")
_STAMP = re.compile(r"(\d{8}-\d{6})(?:-(\d+))?")
_STAMP_FORMAT = "%Y%m%d-%H%M%S"
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]+')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_NAME_BYTES = 120


class RunError(Exception):
    """Something about a run directory is not as it must be; the text says what was expected, what is there, what to do."""


@dataclass(frozen=True)
class Layout:
    """The paths of one run; makes and reads nothing itself."""

    root: Path

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def resolved(self) -> Path:
        return self.root / "resolved.yaml"

    @property
    def environment(self) -> Path:
        return self.root / "environment.json"

    @property
    def labels(self) -> Path:
        return self.root / "labels.json"

    @property
    def preprocessing(self) -> Path:
        return self.root / "preprocessing.json"

    @property
    def data(self) -> Path:
        """Fingerprints of the data, ids of the held-out samples, counts of the classes."""
        return self.root / "data.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def metrics_csv(self) -> Path:
        return self.root / "metrics.csv"

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}"

    @property
    def last(self) -> Path:
        """Pointer to the newest checkpoint, and how the run ended: {"step", "checkpoint", "finished", "reason"}."""
        return self.checkpoints / "last.json"

    @property
    def best(self) -> Path:
        """Pointer to the best checkpoint: {"step", "checkpoint", "metric", "mode", "value"}."""
        return self.checkpoints / "best.json"

    @property
    def base(self) -> Path:
        return self.root / "base"

    def evaluation(self, split: str) -> Path:
        return self.root / "evaluation" / safe_name(split)

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    def export(self, format: str) -> Path:
        return self.root / "export" / safe_name(format)

    @property
    def name(self) -> str:
        """What the run is called: the folder above the time stamp, or the folder itself where nothing is stamped."""
        root = self.root.absolute()
        return root.parent.name if _STAMP.fullmatch(root.name) else root.name

    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return any(path.is_file() for path in (self.recipe, self.resolved, self.metrics))


def safe_name(name: str) -> str:
    """`name` as one folder name on any file system; letters of every script stay as they are.

    Raises RunError when nothing usable is left."""
    clean = _FORBIDDEN.sub("-", name).strip(" .-")
    if _RESERVED.fullmatch(clean):
        clean = f"{clean}-run"
    clean = clean.encode("utf-8", "replace")[:_NAME_BYTES].decode("utf-8", "ignore").rstrip(" .-")
    if not clean:
        raise RunError(f"a name of a run needs at least one letter or digit, received {name!r}")
    return clean


def new_run(where: str | os.PathLike[str], name: str | None = None) -> Layout:
    """Make the directory of a new run.

    With a name: `where/<name>/<YYYYMMDD-HHMMSS>[-n]/` (local time). The folder is made exclusively, so two processes that
    start in the same second get different ones. Without: `where` is the exact directory, nothing is stamped beneath it.
    Raises RunError when the exact directory already holds a run, or when the directory cannot be made."""
    where = Path(where)
    try:
        return _new_exact(where) if name is None else _new_stamped(where / safe_name(name))
    except OSError as error:
        raise RunError(
            f"cannot make the run directory {error.filename or where}: {error.strerror}; choose another place with run.dir=PATH"
        ) from error


def _new_exact(root: Path) -> Layout:
    root.mkdir(parents=True, exist_ok=True)
    layout = Layout(root)
    if layout.is_run():
        raise RunError(f"{root} already holds a run; go on with it by --resume, or choose another run.dir")
    return layout


def _new_stamped(parent: Path) -> Layout:
    if Layout(parent).is_run():
        raise RunError(f"{parent} is itself a run (made with run.dir); choose another name, or run.dir={parent} with --resume")
    parent.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime(_STAMP_FORMAT)
    number = 1
    while True:
        root = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            root.mkdir()
            return Layout(root)
        except FileExistsError:
            number += 1


def all_runs(runs_root: str | os.PathLike[str] = RUNS) -> list[Layout]:
    """Every run under `runs_root`, the newest first."""
    found = [Layout(child) for folder in _folders(Path(runs_root)) for child in _runs_of(folder)]
    return sorted(found, key=created, reverse=True)


def created(layout: Layout) -> tuple[int, int, int, str]:
    """Sort key of a run's creation: (second, nanosecond, n, path).

    The second is the time stamp in the folder's name where there is one (a copied run keeps its name, not its file times), else the time of
    recipe.yaml, which is written once."""
    match = _STAMP.fullmatch(layout.root.name)
    stamp = layout.recipe if layout.recipe.exists() else layout.root
    try:
        written = stamp.stat().st_mtime_ns
    except OSError:
        written = 0
    seconds = written // 10**9
    if match:
        with contextlib.suppress(ValueError, OverflowError):
            seconds = int(time.mktime(time.strptime(match[1], _STAMP_FORMAT)))
    return seconds, written, int(match[2] or 1) if match else 1, str(layout.root)


def find(target: str | os.PathLike[str], runs_root: str | os.PathLike[str] = RUNS) -> Layout:
    """The run meant by `target`: `last` (the newest of all), a run directory, `<name>` (its newest) or `<name>/<stamp>`.

    Raises RunError that says where it looked and lists the nearest names."""
    text, root = os.fspath(target), Path(runs_root)
    if text == "last":
        runs = all_runs(root)
        if not runs:
            raise RunError(f"'last' means the newest run, but there is none under {root.absolute()}; train one, or name a directory")
        return runs[0]
    for path in (Path(text), root / text):
        if path.is_dir() and Layout(path).is_run():
            return Layout(path)
    named = runs_named(text, root)
    if named:
        return named[0]
    raise RunError(_not_found(text, root))


def runs_named(name: str, runs_root: str | os.PathLike[str] = RUNS) -> list[Layout]:
    """The runs of one name, the newest first."""
    try:
        folder = Path(runs_root) / safe_name(name)
    except RunError:
        return []
    return sorted((Layout(path) for path in _runs_of(folder)), key=created, reverse=True)


def newest_unfinished(name: str, runs_root: str | os.PathLike[str] = RUNS) -> Layout | None:
    """The newest run of that name that has not reached its end (what `--resume` goes on with); None when there is none."""
    return next((layout for layout in runs_named(name, runs_root) if not _is_finished(layout)), None)


def _is_finished(layout: Layout) -> bool:
    try:
        pointer = json.loads(layout.last.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(pointer, dict) and pointer.get("finished") is True


def _not_found(target: str, runs_root: Path) -> str:
    lines = [f"no run {target!r}: looked for a run directory of that path and for a run of that name under {runs_root.absolute()}"]
    if Path(target).is_dir():
        lines.append(f"the directory {target} exists, but holds no recipe.yaml: it is not a run")
    names = list(dict.fromkeys(layout.name for layout in all_runs(runs_root)))
    near = difflib.get_close_matches(target, names, n=5, cutoff=0.5) or [name for name in names if target.lower() in name.lower()][:5]
    if near:
        lines.append("nearest: " + ", ".join(near))
    elif names:
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        lines.append(f"there are: {shown}")
    else:
        lines.append("there are no runs there yet")
    return "\n  ".join(lines)


def _runs_of(folder: Path) -> list[Path]:
    """The runs of one name: the folder itself (made by run.dir), or the runs one level below."""
    if Layout(folder).is_run():
        return [folder]
    return [child for child in _folders(folder) if Layout(child).is_run()]


def _folders(parent: Path) -> list[Path]:
    try:
        return [child for child in parent.iterdir() if child.is_dir() and not child.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"cannot read {parent}: {error.strerror}") from error
