import csv
import importlib.util
import json
import math
import os
import random
import resource
import signal
import time

import pytest
import torch

from liandan.runs.layout import Layout
from liandan.runs.record import Record, last_row, read_metrics
from liandan.runs.store import StoreError


def write(layout: Layout, steps, start: int | None = None) -> None:
    with Record.open(layout, start, tensorboard=False) as record:
        for step in steps:
            record.row(step, step / 10, step * 0.5, {"train/loss": 1 / step, **({"val/准确率": step / 3} if step % 5 == 0 else {})})


def test_rows_come_back_bit_for_bit_and_in_their_order(layout: Layout):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2.0**53 + 2, math.nan, math.inf, -math.inf]
    with Record.open(layout, tensorboard=False) as record:
        for step, value in enumerate(values, 1):
            record.row(step, step / 7, step / 9, {"val/z": value, "train/a": torch.tensor(0.5), "val/count": 3})
    rows = read_metrics(layout)
    assert [list(row) for row in rows] == [["step", "epoch", "seconds", "val/z", "train/a", "val/count"]] * len(values)
    for step, (row, value) in enumerate(zip(rows, values, strict=True), 1):
        assert (row["step"], row["epoch"], row["seconds"]) == (step, step / 7, step / 9)
        assert row["val/z"] == value or (math.isnan(value) and math.isnan(row["val/z"]))
        assert math.copysign(1, row["val/z"]) == math.copysign(1, value) or math.isnan(value)
        assert row["val/count"] == 3
        assert isinstance(row["val/count"], int)

    def refuse(constant: str):
        pytest.fail(f"{constant} is not JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in layout.metrics.read_text().splitlines()]
    assert [line["val/z"] for line in lines[-3:]] == ["NaN", "Infinity", "-Infinity"]


def test_a_step_is_written_once_and_in_order(layout: Layout):
    with Record.open(layout, tensorboard=False) as record:
        record.row(5, 1, 1, {"train/loss": 1})
        for step in (5, 4):
            with pytest.raises(ValueError, match=f"step {step} comes after the row of step 5"):
                record.row(step, 1, 1, {"train/loss": 1})
        with pytest.raises(ValueError, match="'epoch'"):
            record.row(6, 1, 1, {"epoch": 1})
    assert [row["step"] for row in read_metrics(layout)] == [5]


@pytest.mark.parametrize("step", [0, 1, 7, 12, 13, 20, 99])
@pytest.mark.parametrize("tear", [None, 1, 10, -1])
def test_a_resume_leaves_no_row_twice_and_none_missing(layout: Layout, step: int, tear: int | None):
    write(layout, range(1, 21))
    whole = layout.metrics.read_bytes()
    if tear is not None:  # a write that was cut off, within the row of step 21
        layout.metrics.write_bytes(whole + whole.splitlines(keepends=True)[-1].replace(b'"step": 20', b'"step": 21')[:tear])
    write(layout, range(step + 1, 21), start=step)
    assert layout.metrics.read_bytes() == whole
    assert last_row(layout) == read_metrics(layout)[-1]


def test_from_zero_means_from_nothing(layout: Layout):
    write(layout, [1, 2])
    whole = layout.metrics.read_bytes()
    write(layout, [1, 2])
    assert layout.metrics.read_bytes() == whole


def test_a_killed_writer_loses_no_row_that_it_had_written(layout: Layout):
    for trial in range(8):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            record = Record.open(layout, tensorboard=False)
            for step in range(1, 1_000_000):
                record.row(step, 0, 0, {"train/loss": step})
                os.write(writer, b"." if step % 4096 else b"\n")
        os.close(writer)
        os.read(reader, 1)
        time.sleep(random.Random(trial).uniform(0, 0.02))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with os.fdopen(reader, "rb") as pipe:
            written = 1 + len(pipe.read())
        rows = read_metrics(layout)
        assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
        assert written <= len(rows) <= written + 1


def test_a_full_disk_keeps_the_row_for_later(layout: Layout, in_child):
    def child() -> object:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        record = Record.open(layout, tensorboard=False)
        record.row(1, 0, 0, {"train/loss": 1})
        size = layout.metrics.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
        messages = []
        for step in (2, 3):
            try:
                record.row(step, 0, 0, {"train/loss": step})
            except StoreError as error:
                messages.append(str(error))
        assert layout.metrics.stat().st_size == size, "a part of a row was left"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        record.row(4, 0, 0, {"train/loss": 4})
        record.close()
        return messages

    assert in_child(child).count("kept in memory") == 2
    assert [row["step"] for row in read_metrics(layout)] == [1, 2, 3, 4]


def test_the_csv_is_the_union_of_the_columns(layout: Layout):
    with Record.open(layout, tensorboard=False) as record:
        record.row(1, 0.5, 1, {"train/loss": 0.1})
        record.row(2, 1.0, 2, {"train/loss": math.nan, 'val/a "b", c': 1 / 3})
        record.sync()
        assert len(layout.metrics_csv.read_text().splitlines()) == 3
        record.row(3, 1.5, 3, {"val/准确率": 2, "train/loss": 0.3})
    with open(layout.metrics_csv, encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["step", "epoch", "seconds", "train/loss", 'val/a "b", c', "val/准确率"]
    assert table[1:] == [["1", "0.5", "1", "0.1", "", ""], ["2", "1.0", "2", "NaN", repr(1 / 3), ""], ["3", "1.5", "3", "0.3", "", "2"]]


def test_the_log_has_times_and_is_continued(layout: Layout):
    for text in ("开始\n第二行", "again"):
        with Record.open(layout, tensorboard=False) as record:
            record.log(text)
    lines = layout.log.read_text(encoding="utf-8").splitlines()
    assert [line[20:] for line in lines] == ["开始", "第二行", "again"]
    assert all(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S") for line in lines)


def test_a_place_that_is_closed_is_named(layout: Layout):
    with pytest.raises(StoreError, match="absent"):
        Record.open(Layout(layout.root / "absent"), tensorboard=False)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_shows_each_step_once_after_a_resume(layout: Layout):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, steps in ((None, range(1, 11)), (6, range(7, 13))):
        with Record.open(layout, start) as record:
            for step in steps:
                record.row(step, 0, 0, {"train/loss": step + (100 if start else 0)})
        time.sleep(1.1)  # event files are ordered by the second in their names
    events = EventAccumulator(str(layout.tensorboard), size_guidance={"scalars": 0})
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [
        (step, step if step <= 6 else step + 100) for step in range(1, 13)
    ]
