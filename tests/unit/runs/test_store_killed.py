"""Fault R1's part that belongs to the store: a writer killed at any moment leaves a whole checkpoint behind."""

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from liandan.runs.layout import Layout
from liandan.runs.store import newest_valid, prune, read_checkpoint, verify, write_checkpoint

WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


@pytest.fixture
def layout() -> Iterator[Layout]:
    """A run in memory where there is such a place: a kill is not a power cut, and hundreds of real flushes would take minutes."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Layout(Path(folder))


def spawn(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def judge(layout: Layout, contents, at_least: int) -> int:
    """The generation that a resume would load, once everything about it was found in order."""
    for path in layout.checkpoints.iterdir():
        if path.name.startswith("step-") and path.suffix == "":
            assert verify(path) is None, path
    folder = newest_valid(layout, pytest.fail)
    assert folder is not None
    tensors, documents = read_checkpoint(folder, verify=False)
    generation = documents["state.json"]["generation"]
    assert generation >= at_least
    expected = contents(generation)
    assert all(tensors[file][name].equal(tensor) for file, named in expected.items() for name, tensor in named.items())
    return generation


@pytest.mark.parametrize("moment", range(30))
def test_killed_at_a_random_moment(layout: Layout, contents, moment: int):
    write_checkpoint(layout, 1, contents(1), {"state.json": {"generation": 1}})

    def work() -> None:
        for generation in range(2, 10_000):
            step = 1 + generation // 3  # each step is written three times over
            write_checkpoint(layout, step, contents(generation), {"state.json": {"generation": generation}}, shard_size=500)
            prune(layout, 2)

    pid = spawn(work)
    time.sleep(random.Random(moment).uniform(0, 0.06))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    generation = judge(layout, contents, at_least=1)
    write_checkpoint(layout, 1 + generation // 3, contents(generation + 1), {"state.json": {"generation": generation + 1}})
    prune(layout, 2)
    judge(layout, contents, at_least=generation + 1)
    assert not [path for path in layout.checkpoints.iterdir() if path.suffix in (".tmp", ".old", ".trash")]


@pytest.mark.parametrize("replaced", [False, True], ids=["a new step", "the only step there is"])
def test_killed_before_each_operation_on_a_file(layout: Layout, contents, replaced: bool):
    step = 1 if replaced else 2
    operation, ended, seen = 0, False, set()
    while not ended:
        operation += 1
        write_checkpoint(layout, 1, contents(1), {"state.json": {"generation": 1}})

        def work(last: int = operation) -> None:
            count = 0

            def hook(event: str, _: object) -> None:
                nonlocal count
                if event in WATCHED:
                    count += 1
                    if count == last:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            write_checkpoint(layout, step, contents(2), {"state.json": {"generation": 2}})
            prune(layout, 1)

        _, status = os.waitpid(spawn(work), 0)
        ended = not os.WIFSIGNALED(status)
        seen.add(judge(layout, contents, at_least=1))
        write_checkpoint(layout, 2, contents(3), {"state.json": {"generation": 3}})
        prune(layout, 1)
        assert judge(layout, contents, at_least=3) == 3
        assert sorted(path.name for path in layout.checkpoints.iterdir()) == ["last.json", "step-00000002"]
    assert operation > 20
    assert seen == {1, 2}
