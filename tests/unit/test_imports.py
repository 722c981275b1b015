"""What must stay light to import: a person who types `liandan --help` does not wait for torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "transformers", "sklearn", "matplotlib", "huggingface_hub", "numpy")
SCRIPT = "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"


def imported_by(module: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after importing `module`."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, module], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("module", ["liandan", "liandan.cli", "liandan.recipe", "liandan.sources"])
def test_imports_no_torch_and_nothing_heavy(module: str):
    assert not imported_by(module).intersection(HEAVY)


def test_the_probe_sees_what_is_heavy():
    assert "numpy" in imported_by("numpy.linalg")
