"""One HTML file about an evaluation that opens from disk: pictures inlined, no script, no network. Every text in it is escaped."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from liandan.runs.layout import Layout
from liandan.runs.record import read_metrics
from liandan.runs.store import read_pointer, write_text_atomic

_MOST_LINES = 200  # of a table; the CSV beside the report has them all
_SMALL = 64  # pixels: a narrower picture is shown with its pixels, not blurred
_MOST_COLUMNS = 12  # a wider table, such as a confusion matrix, is for the CSV and its picture
_TITLES = {
    "confusion": "Confusion 混淆矩阵", "roc": "ROC curves ROC 曲线", "precision_recall": "Precision and recall 精确率与召回率",
    "calibration": "Calibration 置信度校准", "classes": "Classes 各类别", "folds": "Folds 各折",
}  # fmt: skip
_PARTS = {
    "data": "waiting for data 等数据", "prepare": "to the device, noise 上设备与抽样", "forward": "forward 前向",
    "backward": "backward 反向", "optimizer": "optimizer 更新参数",
}  # fmt: skip
_COLORS = ("#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#4D4D4D")
_STYLE = """
:root{color-scheme:light;font:16px/1.5 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;color:#222}
body{margin:0 auto;max-width:1120px;padding:1.2rem 1rem 4rem;background:#fff}
h1{font-size:1.6rem;margin:.2rem 0;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2.4rem 0 .8rem;border-bottom:1px solid #ddd}
.sub,.small,figcaption{color:#666}.small,figcaption{font-size:.85rem}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.6rem;margin:1rem 0}
dl div{background:#f4f6f8;border-radius:.4rem;padding:.5rem .7rem}dt{font-size:.8rem;color:#555;overflow-wrap:anywhere}
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
img{max-width:100%;height:auto}.curves img{min-width:44rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:1rem}
figure{margin:0}.cards img{width:100%;height:9.5rem;object-fit:contain;background:#f4f6f8;}.cards img.small{image-rendering:pixelated}
figcaption{overflow-wrap:anywhere}figcaption b{color:#222}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;min-width:24rem}
th,td{text-align:right;padding:.2rem .7rem;border-bottom:1px solid #eee;white-space:nowrap}th:first-child,td:first-child{text-align:left}
td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:8rem}th{color:#555;font-weight:600}
.bar{display:flex;height:1.6rem;border-radius:.4rem;overflow:hidden;margin:.6rem 0}.bar span{display:block}
.key{display:inline-block;width:.8rem;height:.8rem;border-radius:.2rem;margin-right:.4rem}
ul.notes{padding:.6rem 1rem .6rem 2rem;background:#fff7e0;border-radius:.4rem}
"""


def write(
    layout: Layout,
    split: str,
    numbers: Mapping[str, float],
    *,
    notes: Sequence[str] = (),
    figures: Sequence[str] = (),
    tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    mistakes: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write evaluation/<split>/report.html from what the evaluation has written there.

    Args:
        numbers: {metric: value}.
        notes: sentences a reader should know first.
        figures: stems of the PNG files beside the report.
        tables: {stem of the CSV beside the report: its lines}.
        mistakes: samples with `name`, words and numbers, and `picture` (PNG bytes) where there is one.
    """
    folder = layout.evaluation(split)
    parts = [_tiles(numbers), _notes(notes), *curves(layout), *time_split(read_metrics(layout))]
    if figures:
        drawn = "".join(_figure(folder / f"{stem}.png", _TITLES.get(stem, stem)) for stem in figures)
        parts.append(_section("Figures 图", f'<div class="figures">{drawn}</div>'))
    for stem, lines in (tables or {}).items():
        if lines and len(lines[0]) <= _MOST_COLUMNS and stem not in figures:
            parts.append(_section(_TITLES.get(stem, stem), table(_worst_first(lines), f"{stem}.csv")))
    if mistakes:
        shown = "".join(map(_card, mistakes))
        parts.append(_section("Worst mistakes 最有把握的错误", f'<div class="cards">{shown}</div>'))
    best = read_pointer(layout.best) or read_pointer(layout.last) or {}
    subtitle = f"{split}; checkpoint of step {best.get('step')}; {layout.root}"
    return page(folder / "report.html", f"{layout.name}: {split}", subtitle, parts)


def page(path: Path, title: str, subtitle: str, parts: Iterable[str]) -> Path:
    """A whole document of parts that are HTML already. The policy in its head forbids scripts and any request, whatever a part holds."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title><style>{_STYLE}</style></head>'
        f'<body><h1>{escape(title)}</h1><p class="sub">{escape(subtitle)}</p>\n' + "\n".join(filter(None, parts)) + "\n</body></html>\n"
    )
    write_text_atomic(path, text.encode("utf-8", "replace").decode())
    return path


def curves(layout: Layout) -> list[str]:
    """The run's curves, where they were drawn."""
    drawn = layout.plots / "curves.png"
    return [_section("Curves 曲线", f'<div class="wide curves">{_figure(drawn, "")}</div>')] if drawn.exists() else []


def time_split(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where a step's time went: means over the run of the rows' `time/<part>` (seconds a step since the row before)."""
    totals: dict[str, float] = {}
    before = steps = 0
    for row in rows:
        since, before = row["step"] - before, row["step"]
        parts = {key.removeprefix("time/"): value for key, value in row.items() if key.startswith("time/")}
        steps += since if parts else 0
        for part, value in parts.items():
            totals[part] = totals.get(part, 0.0) + value * since
    whole = sum(totals.values())
    if not whole > 0:
        return []
    bar, lines = "", []
    for color, (part, seconds) in zip(_COLORS * len(totals), totals.items(), strict=False):
        bar += f'<span style="background:{color};width:{100 * seconds / whole:.2f}%"></span>'
        key = f'<span class="key" style="background:{color}"></span>{escape(_PARTS.get(part, part))}'
        lines.append(f"<tr><td>{key}</td><td>{_seconds(seconds / steps)}</td><td>{seconds / whole:.1%}</td></tr>")
    head = "<tr><th></th><th>a step 每步</th><th>share 占比</th></tr>"
    body = f'<div class="bar">{bar}</div><div class="wide"><table>{head}{"".join(lines)}</table></div>'
    return [_section("Time of a step 每步时间", body)]


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def table(lines: Sequence[Mapping[str, Any]], source: str) -> str:
    """Lines as an HTML table with the columns of the first one."""
    columns = list(lines[0]) if lines else []
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_cell(line.get(c))}</td>" for c in columns) + "</tr>" for line in lines[:_MOST_LINES])
    more = f'<p class="small">{len(lines) - _MOST_LINES} more in {escape(source)}</p>' if len(lines) > _MOST_LINES else ""
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>{more}'


def _worst_first(lines: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Classes by rising F1, those without a sample last; other tables as they are."""
    if not lines or "f1" not in lines[0]:
        return lines
    return sorted(lines, key=lambda line: (line.get("support") == 0, line["f1"]))


def _tiles(numbers: Mapping[str, float]) -> str:
    return "<dl>" + "".join(f"<div><dt>{escape(name)}</dt><dd>{_cell(value)}</dd></div>" for name, value in numbers.items()) + "</dl>"


def _notes(notes: Sequence[str]) -> str:
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>' if notes else ""


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _figure(picture: Path | bytes, caption: str) -> str:
    content = picture if isinstance(picture, bytes) else picture.read_bytes()
    source = base64.b64encode(content).decode()
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{source}">{below}</figure>'


def _card(mistake: Mapping[str, Any]) -> str:
    words = "<br>".join(
        f"{escape(key)} <b>{_cell(value, percent=True)}</b>" for key, value in mistake.items() if key not in ("name", "picture")
    )
    image = ""
    if "picture" in mistake:
        small = int.from_bytes(mistake["picture"][16:20]) < _SMALL  # the width in a PNG's header
        source = base64.b64encode(mistake["picture"]).decode()
        image = f'<img alt=""{" class=small" if small else ""} src="data:image/png;base64,{source}">'
    return f"<figure>{image}<figcaption>{words}<br>{escape(str(mistake['name']))}</figcaption></figure>"


def _cell(value: Any, percent: bool = False) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            return "undefined"
        return f"{value:.1%}" if percent else f"{value:.4g}"
    return escape("" if value is None else str(value))
