import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from liandan.runs.layout import Layout

Tensors = dict[str, dict[str, torch.Tensor]]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = tmp_path / "岩石" / "20250101-120000"
    root.mkdir(parents=True)
    (root / "recipe.yaml").write_text("version: 1\ntask: image_classification\nname: 岩石\n", encoding="utf-8")
    return Layout(root)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that users other than root can reach (pytest's own is closed to them)."""
    folder = Path(tempfile.mkdtemp(prefix="liandan-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def contents() -> Callable[[int], Tensors]:
    """What a small checkpoint holds; every value tells the step it belongs to."""

    def make(step: int, size: int = 200) -> Tensors:
        weight = torch.full((size,), float(step))
        return {
            "model.safetensors": {"head.weight": weight, "head.bias": torch.full((3,), step), "层": torch.full((2, 2), step / 2)},
            "optimizer.safetensors": {"head.weight.exp_avg": torch.full((size,), -float(step))},
        }

    return make


@pytest.fixture
def in_child() -> Callable[[Callable[[], object]], str]:
    """Run a function in a forked process; what it returns, as text, or its traceback after "CHILD FAILED"."""

    def run(function: Callable[[], object]) -> str:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                text = str(function())
            except BaseException:
                text = "CHILD FAILED\n" + traceback.format_exc()
            os.write(writer, text.encode()[:60000])
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            text = pipe.read().decode()
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return text

    return run
