"""What a run did, row by row: metrics.jsonl is the record, metrics.csv and tensorboard/ are made from it, log.txt is for people.

Numbers are written so that they come back bit for bit. JSON has no NaN: non-finite values are the strings "NaN", "Infinity" and
"-Infinity" (as in protobuf's JSON mapping), which `read_metrics` turns back into floats.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from liandan.runs.layout import Layout
from liandan.runs.store import StoreError, write_text_atomic

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

_OWN = ("step", "epoch", "seconds")
_TAIL = 1 << 18
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Record:
    """The open record of a run; made by `Record.open`, usable as a context manager. One process writes it."""

    def __init__(self, layout: Layout, rows: io.FileIO, log: io.FileIO, last_step: int | None, board: SummaryWriter | None) -> None:
        self.layout = layout
        self.last_step = last_step
        self._rows, self._log, self._board = rows, log, board
        self._pending = b""

    @classmethod
    def open(cls, layout: Layout, step: int | None = None, *, tensorboard: bool = True) -> Record:
        """Open the record to go on after `step` (of the checkpoint that was loaded); None begins from nothing.

        Rows after `step` and torn lines are dropped: those steps are made again, so none is missing or there twice. TensorBoard is written
        when it is asked for and installed. Raises StoreError."""
        kept = [] if step is None else [row for row in _lines(layout.metrics) if row[0]["step"] <= step]
        content = b"".join(line for _, line in kept)
        try:
            if layout.metrics.exists() and layout.metrics.read_bytes() != content:
                write_text_atomic(layout.metrics, content.decode())
            rows = io.FileIO(layout.metrics, "a")
            log = io.FileIO(layout.log, "a")
        except OSError as error:
            advice = "make it writable, or choose another run.dir"
            raise StoreError(f"cannot write {error.filename or layout.metrics}: {error.strerror}; {advice}") from error
        board = _board(layout, step) if tensorboard else None
        return cls(layout, rows, log, kept[-1][0]["step"] if kept else None, board)

    def row(self, step: int, epoch: float, seconds: float, metrics: Mapping[str, SupportsFloat]) -> None:
        """Append the row of a logged step, once; it is with the operating system when this returns, so a kill does not lose it.

        epoch: epochs done, with fraction; seconds: spent on the run, resumes included; metrics: {"<split>/<name>": value}, written in
        the order given. Raises ValueError for a step that was written already, StoreError when the disk is full: the row is then
        kept and written before the next one."""
        if self.last_step is not None and step <= self.last_step:
            raise ValueError(f"the row of step {step} comes after the row of step {self.last_step}; a step is written once, in order")
        taken = [name for name in metrics if name in _OWN]
        if taken:
            raise ValueError(f"a metric cannot be called {taken[0]!r}; expected <split>/<name>")
        values = {name: _number(value) for name, value in metrics.items()}
        row = {"step": step, "epoch": epoch, "seconds": seconds, **values}
        self.last_step = step
        self._pending += _encode(row)
        try:
            if self._board is not None:
                for name, value in values.items():
                    if not name.startswith("time/"):  # where a step's time goes is a matter of a table, not of a curve
                        self._board.add_scalar(name, value, step)
        except OSError as error:
            self._without_board(error)
        self._append_pending()

    def log(self, text: str) -> None:
        """Append `text` to log.txt, each line with the local time. A full disk is no reason to stop for this one: the line is lost."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError):
            self._log.write("".join(f"{stamp} {line}\n" for line in text.splitlines()).encode("utf-8", "replace"))

    def sync(self) -> None:
        """Put all rows on the disk itself and write metrics.csv; call it before a checkpoint and after an evaluation. Raises StoreError."""
        self._append_pending()
        try:
            if self._board is not None:
                self._board.flush()
        except OSError as error:
            self._without_board(error)
        try:
            os.fsync(self._rows.fileno())
        except OSError as error:
            raise self._failure(error) from error
        self.write_csv()

    def write_csv(self) -> None:
        """Make metrics.csv from the rows: the union of their columns in the order of first appearance, empty where a row has no value."""
        write_text_atomic(self.layout.metrics_csv, to_csv(read_metrics(self.layout)))

    def close(self) -> None:
        """Write what is pending, metrics.csv, and close. Raises StoreError."""
        try:
            if not self._rows.closed:
                self.sync()
        finally:
            self._rows.close()
            self._log.close()
            if self._board is not None:
                with contextlib.suppress(OSError):
                    self._board.close()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _without_board(self, error: OSError) -> None:
        """A full disk ends TensorBoard's writing thread for good. It only shows what the rows hold: the run does without it."""
        self.log(f"tensorboard/ is not written any more ({error.strerror}); a resume goes on with it")
        with contextlib.suppress(OSError):
            assert self._board is not None
            self._board.close()
        self._board = None

    def _append_pending(self) -> None:
        """All of it or none: a part of a line, left by a full disk, is cut off again."""
        if not self._pending:
            return
        start = os.fstat(self._rows.fileno()).st_size
        left = memoryview(self._pending)
        try:
            while left:
                left = left[self._rows.write(left) :]
        except OSError as error:
            os.ftruncate(self._rows.fileno(), start)
            raise self._failure(error) from error
        self._pending = b""

    def _failure(self, error: OSError) -> StoreError:
        promise = "the rows are kept in memory and written when there is space again"
        return StoreError(f"cannot write {self.layout.metrics}: {error.strerror}; {promise}")


def read_metrics(layout: Layout) -> list[dict[str, Any]]:
    """The rows of a run, in order; lines torn by a crash are left out. An empty list when there are none."""
    return [row for row, _ in _lines(layout.metrics)]


def last_row(layout: Layout) -> dict[str, Any] | None:
    """The newest whole row, read from the end of the file, however long it is; None when there is none."""
    try:
        with open(layout.metrics, "rb") as file:
            file.seek(max(0, layout.metrics.stat().st_size - _TAIL))
            tail = file.read()
    except OSError:
        return None
    rows = _parse(tail)
    return rows[-1][0] if rows else None


def to_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV text (RFC 4180, but with plain newlines)."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: plain(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _lines(path: Path) -> list[tuple[dict[str, Any], bytes]]:
    """(row, its line) of each whole line. A torn last line has no newline or is no JSON."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    return _parse(content)


def _parse(content: bytes) -> list[tuple[dict[str, Any], bytes]]:
    found = []
    for line in content.splitlines(keepends=True):
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            found.append(({name: _restored(value) for name, value in row.items()}, line))
    return found


def _encode(row: dict[str, Any]) -> bytes:
    return (json.dumps({name: plain(value) for name, value in row.items()}, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _number(value: Any) -> int | float:
    """A whole number stays one; everything else (numpy's and torch's scalars too) becomes a float."""
    return value if type(value) is int else float(value)


def plain(value: Any) -> Any:
    """A non-finite float as the string that stands for it in JSON; anything else unchanged."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _restored(value: Any) -> Any:
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


def _board(layout: Layout, step: int | None) -> SummaryWriter | None:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard.writer import SummaryWriter

    try:
        return SummaryWriter(str(layout.tensorboard), purge_step=0 if step is None else step + 1)
    except OSError:  # no room or no permission: what matters is written elsewhere, and says so if it cannot be
        return None
