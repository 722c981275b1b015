"""Pictures of a run, as PNG files. Tasks hand over plain data (`figure`), so only this room knows how anything is drawn.

matplotlib's object-oriented interface alone: no window, no figure left in a global list.
"""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liandan.runs import fonts
from liandan.runs.store import write_bytes_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colors, told apart by every kind of color vision (Wong, Nature Methods 8:441, 2011), less the yellow that fades on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4D4D4D", "#7B5EA7")
_SPLIT_COLORS = {"train": COLORS[0], "val": COLORS[1], "test": COLORS[2]}
_INK, _FAINT = "#333333", "#E4E4E4"
_LOWER_IS_BETTER = ("loss", "perplexity", "error", "wer", "cer", "mae", "mse", "rmse", "fid", "bits_per_byte")
_HIGHER_IS_BETTER = ("accuracy", "f1", "precision", "recall", "map", "miou", "iou", "dice", "bleu", "auc", "auroc", "reward", "kappa", "r2")
_MOST_PANELS = 24
_LABEL_WIDTH = 26
_DPI = 150
_HEAT = 0.5  # what of a picture is its heat
_STYLE: dict[str, Any] = {
    "font.size": 9, "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": "#9A9A9A", "axes.linewidth": 0.8, "axes.titlesize": 11,
    "axes.titlelocation": "left", "axes.titlepad": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": _FAINT, "grid.linewidth": 0.7, "axes.axisbelow": True, "xtick.color": "#9A9A9A", "ytick.color": "#9A9A9A",
    "xtick.labelcolor": _INK, "ytick.labelcolor": _INK, "legend.frameon": False, "legend.fontsize": 8.5, "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
}  # fmt: skip


def curves(rows: Sequence[Mapping[str, Any]], path: Path, best: Mapping[str, Any] | None = None) -> Path:
    """Draw the rows of `read_metrics`: one panel for each metric, the splits that have it together, steps below and epochs above.

    best: {"metric": "val/accuracy", "mode": "max"} names the value that is marked; without it, every validated metric whose name says which
    way is better is marked. Raises ValueError when there is nothing to draw."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        for key, value in row.items():
            if key not in ("step", "epoch", "seconds") and not key.startswith("time/") and isinstance(value, (int, float)):
                split, _, name = key.rpartition("/")
                panels.setdefault(name, {}).setdefault(split, []).append((row["step"], value))
    if not panels:
        raise ValueError("there is no metric to draw yet; the run has logged no row")
    first, last = (function(row["step"] for row in rows) for function in (min, max))

    def draw(axes: Axes, name: str) -> None:
        for number, (split, points) in enumerate(sorted(panels[name].items(), key=_split_order)):
            color = _SPLIT_COLORS.get(split, COLORS[(number + 3) % len(COLORS)])
            _curve(axes, points, split, color, noisy=bool(split))
            mode = _mode(f"{split}/{name}", best)
            if mode:
                _mark_best(axes, points, mode, color)
        _scale(axes, [value for points in panels[name].values() for _, value in points])
        if first < last:  # the same for all panels, also where few values are
            axes.set_xlim(first - 0.02 * (last - first), last + 0.02 * (last - first))
        _epochs(axes, rows)
        if list(panels[name]) != [""]:
            axes.legend(loc="best")

    return _panels(sorted(panels, key=lambda name: list(panels[name]) == [""]), draw, path)  # lr and its like come last


def overlay(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> Path:
    """Draw the rows of several runs over each other: {name of the run: rows}, one panel for each `<split>/<name>`."""
    clock = ("step", "epoch", "seconds")
    seen = dict.fromkeys(key for rows in runs.values() for row in rows for key in row)
    names = [key for key in seen if key not in clock and not key.startswith("time/")]
    if not names:
        raise ValueError("there is no metric to draw: none of the runs has logged a row")
    colors = _colors(len(runs))

    def draw(axes: Axes, name: str) -> None:
        values = []
        for color, (run, rows) in zip(colors, runs.items(), strict=True):
            points = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), (int, float))]
            if points:
                _curve(axes, points, run, color, noisy="/" in name)
                values += [value for _, value in points]
        _scale(axes, values)
        axes.legend(loc="best")

    return _panels(sorted(names, key=lambda name: not name.startswith("val/")), draw, path)


def figure(spec: Mapping[str, Any], path: Path) -> Path:
    """Draw one figure from plain data. Keys of all kinds: kind, title, x, y (labels of the axes).

    matrix       values: rows x columns of numbers >= 0 (row: true class), labels: one for each class; colors are shares of the row
    lines        series: [{name, x: [..], y: [..]}], log_x, log_y: bool, diagonal: bool (the line y = x, for ROC and calibration)
    bars         labels: [..], values: [..] or {series: [..]}; drawn sideways, in the order given
    calibration  edges: [bins + 1] of confidence; confidence, accuracy, share: [bins], None in an empty bin
    explanation  image: uint8 (height, width, 3); heat: float (height, width), 0 to 1; caption; labels, values: bars from 0 to 1

    Raises ValueError that names what is missing or does not fit."""
    kinds: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
        "matrix": _matrix, "lines": _lines, "bars": _bars, "calibration": _calibration, "explanation": _explanation,
    }  # fmt: skip
    kind = spec.get("kind")
    if kind not in kinds:
        raise ValueError(f"a figure has kind {', '.join(kinds)}; received {kind!r}")
    with _style(spec):
        try:
            drawn = kinds[kind](spec)
        except KeyError as error:
            raise ValueError(f"a figure of kind {kind!r} needs the key {error}") from error
        return _save(drawn, path)


def heated(image: Any, heat: Any) -> bytes:
    """A PNG of an image, uint8 (height, width, 3), under its heat, float (height, width), 0 to 1, of the same size."""
    import matplotlib
    from matplotlib import image as files

    out = io.BytesIO()
    files.imsave(out, (1 - _HEAT) * image / 255 + _HEAT * matplotlib.colormaps["turbo"](heat)[..., :3], format="png")
    return out.getvalue()


# --- curves ----------------------------------------------------------------------------------------------------------------------


def _panels(names: list[str], draw: Callable[[Axes, str], None], path: Path) -> Path:
    names = names[:_MOST_PANELS]
    columns = min(len(names), 3 if len(names) != 4 else 2)
    lines = math.ceil(len(names) / columns)
    with _style(names):
        drawn = _new(4.6 * columns + 0.4, 3.1 * lines + 0.2)
        for number, name in enumerate(names):
            axes = drawn.add_subplot(lines, columns, number + 1)
            axes.set_title(_text(name))
            draw(axes, name)
            axes.margins(x=0.02)
            axes.set_xlabel("step")
        return _save(drawn, path)


def _curve(axes: Axes, points: list[tuple[float, float]], label: str, color: str, noisy: bool) -> None:
    """Few points are joined; many noisy ones are drawn pale, their running mean over them."""
    x = [step for step, _ in points]
    y = [value if math.isfinite(value) else math.nan for _, value in points]
    if len(points) <= 60 or not noisy:
        axes.plot(x, y, color=color, label=_text(label), marker="o" if len(points) <= 30 else None, markersize=3)
    else:
        axes.plot(x, y, color=color, alpha=0.25, linewidth=0.8)
        axes.plot(x, _smooth(y), color=color, label=_text(label))


def _smooth(values: list[float]) -> list[float]:
    """Mean over a centered window of about a thirtieth of the curve; at the ends the window shrinks on both sides, so nothing lags."""
    sums, counts = [0.0], [0]
    for value in values:
        finite = math.isfinite(value)
        sums.append(sums[-1] + (value if finite else 0.0))
        counts.append(counts[-1] + finite)
    widest, smoothed = max(1, len(values) // 60), []
    for place in range(len(values)):
        half = min(widest, place, len(values) - 1 - place)
        start, end = place - half, place + half + 1
        count = counts[end] - counts[start]
        smoothed.append((sums[end] - sums[start]) / count if count else math.nan)
    return smoothed


def _mode(key: str, best: Mapping[str, Any] | None) -> str | None:
    if best is not None:
        return best.get("mode", "max") if best.get("metric") == key else None
    split, _, name = key.rpartition("/")
    words = name.lower().replace("@", "_").split("_")
    if split != "val":
        return None
    if name in _LOWER_IS_BETTER or any(word in _LOWER_IS_BETTER for word in words):
        return "min"
    return "max" if name in _HIGHER_IS_BETTER or any(word in _HIGHER_IS_BETTER for word in words) else None


def _mark_best(axes: Axes, points: list[tuple[float, float]], mode: str, color: str) -> None:
    finite = [point for point in points if math.isfinite(point[1])]
    if not finite:
        return
    step, value = (min if mode == "min" else max)(finite, key=lambda point: point[1])
    ring: dict[str, Any] = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "markeredgecolor": color, "markeredgewidth": 1.6}
    axes.plot([step], [value], linestyle="none", label=f"best {value:.4g} at step {step:,}", **ring)


def _scale(axes: Axes, values: list[float]) -> None:
    """Logarithmic where positive values span more than two decades, as losses and learning rates do."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) / min(finite) > 100:
        axes.set_yscale("log")


def _epochs(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    last = max(rows, key=lambda row: row["step"])
    ratio = last.get("epoch", 0) / last["step"] if last["step"] else 0
    if not ratio or not math.isfinite(ratio):
        return
    above = axes.secondary_xaxis("top", functions=(lambda step: step * ratio, lambda epoch: epoch / ratio))
    above.tick_params(labelsize=7.5, length=2.5, pad=1)
    above.spines["top"].set_visible(False)
    above.set_xlabel("epoch", fontsize=7.5, loc="right", labelpad=2)


def _split_order(item: tuple[str, object]) -> tuple[int, str]:
    order = list(_SPLIT_COLORS)
    return (order.index(item[0]) if item[0] in order else len(order), item[0])


# --- figures ---------------------------------------------------------------------------------------------------------------------


def _matrix(spec: Mapping[str, Any]) -> Figure:
    from matplotlib.colors import PowerNorm

    values = [[float(value) for value in row] for row in spec["values"]]
    labels = [str(label) for label in spec["labels"]]
    count = len(labels)
    if not count or len(values) != count or any(len(row) != count for row in values):
        shape = f"{len(values)} x {len(values[0]) if values else 0}"
        raise ValueError(f"a matrix needs as many rows and columns as labels; received {shape} values and {count} labels")
    shares = [[value / total if (total := sum(row)) > 0 else 0.0 for value in row] for row in values]
    side = min(11.0, max(3.2, 0.5 * count if count <= 20 else 0.3 * count))
    room = 0.075 * min(_LABEL_WIDTH, max(_width(label) for label in labels))
    drawn = _new(side + room + 1.6, side + room + 0.9)
    axes = drawn.add_subplot()
    # The square root lifts the rare confusions, which are what one looks for, out of the white.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest", aspect="equal")
    axes.grid(False)
    axes.set_title(_text(spec.get("title", "")))
    axes.set_xlabel(_text(spec.get("x", "predicted")))
    axes.set_ylabel(_text(spec.get("y", "true")))
    ticks = range(0, count, math.ceil(count * 0.15 / side))
    size = 9 if count <= 20 else 7.5
    turned = any(_width(label) * 0.07 > side / count for label in labels)
    names = [_short(labels[tick]) for tick in ticks]
    if turned and count <= 20:
        axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    else:
        axes.set_xticks(ticks, names, rotation=90 if turned else 0, fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    axes.tick_params(length=2)
    axes.spines[["top", "right"]].set_visible(True)
    if count <= 20:
        _cells(axes, values, shares)
        for edge in range(1, count):
            axes.axhline(edge - 0.5, color="white", linewidth=1)
            axes.axvline(edge - 0.5, color="white", linewidth=1)
    bar = drawn.colorbar(image, ax=axes, shrink=0.75, pad=0.02, ticks=[0, 0.05, 0.2, 0.5, 1], format=lambda share, _: f"{share:.0%}")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.set_label("share of the row")
    return drawn


def _cells(axes: Axes, values: list[list[float]], shares: list[list[float]]) -> None:
    longest = max(len(_count(value)) for row in values for value in row)
    size = min(9.0, 36 / max(longest, 3))
    for row, (line, parts) in enumerate(zip(values, shares, strict=True)):
        for column, (value, share) in enumerate(zip(line, parts, strict=True)):
            color = "white" if share > 0.3 else "#B8B8B8" if value == 0 else _INK
            axes.text(column, row, _count(value), ha="center", va="center", fontsize=size, color=color)


def _lines(spec: Mapping[str, Any]) -> Figure:
    series = list(spec["series"])
    drawn = _new(5.6, 4.0)
    axes = drawn.add_subplot()
    for color, entry in zip(_colors(len(series)), series, strict=True):
        if len(entry["x"]) != len(entry["y"]):
            raise ValueError(f"the line {entry.get('name')!r} has {len(entry['x'])} x and {len(entry['y'])} y; as many of each are needed")
        marker = "o" if len(entry["x"]) <= 30 else None
        axes.plot(entry["x"], entry["y"], color=color, label=_text(entry.get("name", "")), marker=marker, markersize=3)
    if spec.get("diagonal"):
        axes.axline((0, 0), slope=1, color="#9A9A9A", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if spec.get("log_x"):
        axes.set_xscale("log")
    if spec.get("log_y"):
        axes.set_yscale("log")
    _titles(axes, spec)
    if any(entry.get("name") for entry in series):
        if len(series) <= 6:
            axes.legend(loc="best")
        else:
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), ncols=math.ceil(len(series) / 18))
    return drawn


def _bars(spec: Mapping[str, Any]) -> Figure:
    labels = [str(label) for label in spec["labels"]]
    values = spec["values"]
    series = values if isinstance(values, Mapping) else {"": values}
    for name, numbers in series.items():
        if len(numbers) != len(labels):
            raise ValueError(f"the bars {name!r} are {len(numbers)}, the labels {len(labels)}; as many of each are needed")
    count = len(labels)
    height = min(14.0, max(1.6, 0.27 * count * (1 if len(series) == 1 else 0.6 * len(series))) + 0.9)
    drawn = _new(6.2, height)
    axes = drawn.add_subplot()
    thickness = 0.78 / len(series)
    for number, (color, (name, numbers)) in enumerate(zip(_colors(len(series)), series.items(), strict=True)):
        middle = (number - (len(series) - 1) / 2) * thickness
        bars = axes.barh([place + middle for place in range(count)], numbers, height=thickness * 0.94, color=color, label=_text(name))
        if count * len(series) <= 40:
            axes.bar_label(bars, labels=[_count(value) for value in numbers], padding=3, fontsize=8, color=_INK)
    places = range(0, count, max(1, math.ceil(count * 0.17 / height)))
    axes.set_yticks(places, [_short(labels[place]) for place in places])
    axes.set_ylim(count - 0.4, -0.6)
    axes.margins(x=0.1)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    _titles(axes, spec)
    if len(series) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(4, len(series)))
        axes.set_title(_text(spec.get("title", "")), pad=26)
    return drawn


def _calibration(spec: Mapping[str, Any]) -> Figure:
    """A reliability diagram (Guo et al. 2017, figure 1): accuracy and mean confidence of each bin, and below how many samples are in it."""
    edges, accuracy, confidence, share = (list(spec[name]) for name in ("edges", "accuracy", "confidence", "share"))
    if not len(edges) - 1 == len(accuracy) == len(confidence) == len(share):
        raise ValueError(f"calibration over {len(edges) - 1} bins needs as many accuracies, confidences and shares")
    drawn = _new(5.0, 5.0)
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    width = [high - low for low, high in itertools.pairwise(edges)]
    style: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.8}
    above.bar(edges[:-1], [value or 0 for value in accuracy], width, color=COLORS[4], label="accuracy", **style)
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    means = [math.nan if value is None else value for value in confidence]
    above.plot(middles, means, linestyle="none", marker="o", markersize=5, color=COLORS[1], label="mean confidence")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    above.set_title(_text(spec.get("title", "")), pad=26)
    above.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)
    below.bar(edges[:-1], [value or 0 for value in share], width, color="#9A9A9A", **style)
    below.set(xlabel="confidence", ylabel="samples")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return drawn


def _explanation(spec: Mapping[str, Any]) -> Figure:
    """The image, the same under its heat, and the probabilities."""
    labels, values = [str(label) for label in spec["labels"]], list(spec["values"])
    if len(labels) != len(values):
        raise ValueError(f"an explanation needs as many values as labels; received {len(values)} and {len(labels)} labels")
    drawn = _new(10.0, 3.6)
    plain, heated, bars = drawn.subplots(1, 3, width_ratios=[1, 1, 1])
    for axes in (plain, heated):
        axes.imshow(spec["image"], interpolation="nearest")
        axes.set_axis_off()
    heated.imshow(spec["heat"], cmap="turbo", vmin=0, vmax=1, alpha=_HEAT, interpolation="bilinear")
    plain.set_title(_text(spec.get("title", "")))
    heated.set_title(_text(spec.get("caption", "")))
    drawn_bars = bars.barh(range(len(labels)), values, color=COLORS[0], height=0.7)
    bars.bar_label(drawn_bars, labels=[f"{value:.1%}" for value in values], padding=3, fontsize=8.5, color=_INK)
    bars.set_yticks(range(len(labels)), [_short(label) for label in labels])
    bars.set(ylim=(max(len(labels), 3) - 0.4, -0.6), xlim=(0, 1.18))
    bars.grid(False, axis="y")
    bars.tick_params(axis="y", length=0)
    bars.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    bars.set_xticks([0, 0.5, 1])
    bars.set_title("probability")
    return drawn


# --- small parts -----------------------------------------------------------------------------------------------------------------


def _titles(axes: Axes, spec: Mapping[str, Any]) -> None:
    axes.set_title(_text(spec.get("title", "")))
    axes.set_xlabel(_text(spec.get("x", "")))
    axes.set_ylabel(_text(spec.get("y", "")))


def _new(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), dpi=_DPI)
    FigureCanvasAgg(drawn)
    return drawn


@contextmanager
def _style(texts: object) -> Iterator[None]:
    """This module's look, for the time of one drawing; the caller's own settings come back."""
    import matplotlib

    fonts.say_if_missing(_strings(texts))
    settings: dict[Any, Any] = {**_STYLE, "font.family": fonts.families()}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said once, with the remedy, by the line above
        yield


def _save(drawn: Figure, path: Path) -> Path:
    content = io.BytesIO()
    drawn.savefig(content, format="png", facecolor="white")
    write_bytes_atomic(path, content.getvalue())
    return path


def _colors(count: int) -> list[Any]:
    if count <= len(COLORS):
        return list(COLORS[:count])
    import matplotlib

    scale = matplotlib.colormaps["viridis"]
    return [scale(0.92 * number / (count - 1)) for number in range(count)]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner)


def _text(text: object) -> str:
    """A dollar in a label is a dollar: matplotlib would read two of them as a formula."""
    return str(text).replace("$", r"\$")


def _short(label: str) -> str:
    """A label cut to the width of 26 Latin letters, in its middle: names of classes often differ at their ends."""
    if _width(label) <= _LABEL_WIDTH:
        return _text(label)
    end = _fitting(label[::-1], _LABEL_WIDTH // 3)[::-1]
    return _text(_fitting(label, _LABEL_WIDTH - 1 - _width(end)) + "…" + end)


def _fitting(label: str, width: int) -> str:
    """The longest beginning of `label` that is no wider than `width` Latin letters."""
    kept = ""
    for character in label:
        if _width(kept + character) > width:
            break
        kept += character
    return kept


def _width(label: str) -> int:
    return sum(2 if fonts.is_wide(character) else 1 for character in label)


def _count(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"
