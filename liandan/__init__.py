"""liandan (炼丹): from one's own data to a trained, measured, quantized and served model.

    import liandan
    run = liandan.train("rocks.yaml", {"train.duration.epochs": 3})
    run = liandan.open_run("last"); run.metrics; run.evaluate(); run.predict(["a.jpg"])

Importing liandan imports no torch; the verbs below do when they are called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liandan.api import Run, compare, load_recipe, model, open_run, train

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "compare", "load_recipe", "model", "open_run", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("liandan.api"), name)
    if name in ("tasks", "models"):
        return importlib.import_module(f"liandan.{name}")
    raise AttributeError(f"module 'liandan' has no attribute {name!r}; it has {', '.join(__all__)}")
