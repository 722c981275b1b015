"""A Python config as its author wrote it, and what tests ask of its conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from liandan.recipe.convert import Conversion, convert
from liandan.recipe.document import Document
from liandan.recipe.python_config import parse_python_config

CONFIG = Path(__file__).with_name("configs") / "efficientnet_b4.py"
TEXT = CONFIG.read_text(encoding="utf-8")
IMAGENET = {"name": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def converted(**changes: str) -> Conversion:
    """The config with some of its six names assigned again at its end."""
    text = TEXT + "".join(f"\n{name} = {value}" for name, value in changes.items())
    return convert(parse_python_config(text, "c.py"), "c.py")


def values(conversion: Conversion) -> dict[str, Any]:
    assert not conversion.faults, "\n".join(map(str, conversion.faults))
    return Document.of(conversion.root).values


def fault(conversion: Conversion) -> str:
    assert len(conversion.faults) == 1, conversion.faults
    return str(conversion.faults[0])
