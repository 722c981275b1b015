import os
import signal
import subprocess
import sys
import time

import pytest

from liandan.runs.layout import Layout, RunError
from liandan.runs.lock import LockHeld, holder, lock

HOLD = """
import sys, time
from pathlib import Path
from liandan.runs.layout import Layout
from liandan.runs.lock import lock
with lock(Layout(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(layout: Layout) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(layout.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_and_told_who_holds_it(layout: Layout):
    process = hold(layout)
    with pytest.raises(LockHeld, match=f"process {process.pid} on") as error, lock(layout):
        pytest.fail("two writers")
    assert error.value.pid == process.pid
    assert error.value.host == os.uname().nodename
    assert (holder(layout) or {})["pid"] == process.pid
    process.communicate("")
    assert holder(layout) is None
    with lock(layout):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(layout: Layout):
    process = hold(layout)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert str(process.pid) in layout.lock.read_text()  # it had no time to clean up
    assert holder(layout) is None
    with lock(layout):
        assert (holder(layout) or {})["pid"] == os.getpid()


def test_a_file_dated_in_the_future_or_torn_does_not_matter(layout: Layout):
    for text in ('{"pid": 1, "host": "elsewhere", "started": "2099-01-01"}', "{", ""):
        layout.lock.write_text(text)
        os.utime(layout.lock, (4e9, 4e9))
        with lock(layout):
            assert (holder(layout) or {})["pid"] == os.getpid()


def test_looking_does_not_let_go(layout: Layout, in_child):
    """Closing any descriptor of a locked file releases a POSIX lock, so `holder` must not open it in the process that holds it."""
    with lock(layout):
        assert holder(layout)
        with pytest.raises(LockHeld), lock(layout):
            pytest.fail("two writers")

        def child() -> object:
            try:
                with lock(layout):
                    return "two writers"
            except LockHeld as error:
                return f"refused by {error.pid}"

        assert in_child(child) == f"refused by {os.getpid()}"
    assert in_child(child) == "two writers"  # the lock is free now, so the same child gets it


def test_a_data_worker_that_outlives_the_trainer_does_not_hold_the_run(layout: Layout):
    reader, writer = os.pipe()
    trainer = os.fork()
    if trainer == 0:
        with lock(layout):
            worker = os.fork()
            if worker == 0:
                time.sleep(60)
                os._exit(0)
            os.write(writer, str(worker).encode())
            time.sleep(60)
        os._exit(0)
    worker = int(os.read(reader, 20))
    try:
        assert (holder(layout) or {})["pid"] == trainer
        os.kill(trainer, signal.SIGKILL)
        os.waitpid(trainer, 0)
        os.kill(worker, 0)  # alive, and an orphan
        with lock(layout):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_forked_child_that_unwinds_does_not_wipe_the_holders_name(layout: Layout):
    child = 1
    try:
        with lock(layout):
            child = os.fork()
            if child == 0:
                raise SystemExit
            os.waitpid(child, 0)
            assert str(os.getpid()) in layout.lock.read_text()
    finally:
        if child == 0:
            os._exit(0)


def test_one_of_many_that_start_at_once_wins(layout: Layout):
    script = HOLD.replace("sys.stdin.read()", "time.sleep(1.5)")
    children = [
        subprocess.Popen([sys.executable, "-c", script, str(layout.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = [child.communicate() for child in children]
    assert sorted(out for out, _ in answers) == ["", "", "", "held\n"]
    assert sum("LockHeld" in error for _, error in answers) == 3


def test_a_run_that_cannot_be_locked_is_named(layout: Layout):
    with pytest.raises(RunError, match="absent"), lock(Layout(layout.root / "absent")):
        pytest.fail("locked nothing")
    assert holder(Layout(layout.root / "absent")) is None
