"""A font that knows Chinese, wherever this machine keeps one; labels in Chinese must never become boxes in silence."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Iterable
from pathlib import Path

# Simplified forms first where a family has regional ones; every one of them draws both Simplified and Traditional characters.
FAMILIES = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Noto Sans CJK TC", "Noto Sans CJK JP",
    "Source Han Sans TC", "Source Han Sans", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Microsoft JhengHei",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Heiti TC", "STHeiti", "SimHei", "Arial Unicode MS", "Noto Serif CJK SC", "SimSun",
    "Droid Sans Fallback",
)  # fmt: skip
# The wheel that `pip install liandan[zh]` brings; it is one font file, which is read without importing the package.
WHEEL = "cvttf_NotoSansCJK_Regular"


@functools.cache
def chinese_family() -> str | None:
    """Name of a font family with Chinese glyphs that matplotlib can use; None when this machine has none."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    for family in FAMILIES:
        if family in installed:
            return family
    file = _wheel_font()
    if file is None:
        return None
    font_manager.fontManager.addfont(str(file))
    return font_manager.FontProperties(fname=str(file)).get_name()


def families() -> list[str]:
    """Families to draw with, by preference: matplotlib's own for Latin, so that plots look the same everywhere, and one for the rest."""
    chinese = chinese_family()
    return ["DejaVu Sans"] if chinese is None else ["DejaVu Sans", chinese]


def say_if_missing(texts: Iterable[str]) -> None:
    """Warn, once a process, when `texts` hold characters that no font at hand can draw."""
    if chinese_family() is None and any(is_wide(character) for text in texts for character in text):
        _warn_once()


def is_wide(character: str) -> bool:
    """Whether the character is CJK (ideographs, kana, hangul, full-width forms), drawn about twice as wide as a Latin one."""
    code = ord(character)
    return 0x1100 <= code <= 0x11FF or 0x2E80 <= code <= 0xD7A3 or 0xF900 <= code <= 0xFAFF or 0xFE30 <= code <= 0xFFE6 or code >= 0x20000


@functools.cache
def _warn_once() -> None:
    warnings.warn(
        "no font with Chinese characters was found: labels of plots may show boxes; `pip install 'liandan[zh]'` brings one "
        "(or install Noto Sans CJK: apt install fonts-noto-cjk)",
        stacklevel=2,
    )


def _wheel_font() -> Path | None:
    spec = importlib.util.find_spec(WHEEL)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).iterdir()):
            if file.suffix.lower() in (".otf", ".ttf", ".ttc"):
                return file
    return None
