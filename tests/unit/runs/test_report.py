"""The report: one file that asks for nothing, in which every text stays text."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

from liandan.runs import plots, report
from liandan.runs.layout import Layout

EVIL = '<script>alert("猫")</script>&\'"'
_VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, and the text between them; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + "\n"


def made(tmp_path: Path) -> str:
    layout = Layout(tmp_path / EVIL.replace("/", "-"))
    bars = {"kind": "bars", "labels": ["a"], "values": [1]}
    picture = plots.figure(bars, layout.evaluation("val") / "roc.png").read_bytes()
    layout.metrics.write_text(
        '{"step": 10, "epoch": 1, "seconds": 1, "train/loss": 1, "time/data": 0.001, "time/forward": 0.003}\n'
        '{"step": 30, "epoch": 3, "seconds": 2, "train/loss": 1, "time/data": 0.004, "time/forward": 0.003}\n'
    )
    classes = [{"class": name, "f1": f1, "support": n} for name, f1, n in (("a", 0.9, 5), (EVIL, 0.1, 5), ("空", 0.0, 0))]
    mistakes = [{"name": f"{EVIL}/图.jpg", "true": EVIL, "predicted": "b", "confidence": 0.987, "picture": picture}]
    numbers = {"accuracy": 0.5, f"recall:{EVIL}": float("nan"), "samples": 3}
    tables = {"classes": classes, "confusion": [{str(n): n for n in range(13)}]}
    path = report.write(layout, "val", numbers, notes=[EVIL], figures=["roc"], tables=tables, mistakes=mistakes)
    return path.read_text(encoding="utf-8")


def test_nothing_is_fetched_and_no_text_becomes_a_tag(tmp_path: Path) -> None:
    page = Page(made(tmp_path))
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("href", "srcset")}
        source = attributes.get("src")
        assert source is None or source.startswith("data:image/png;base64,")
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert page.text.count(EVIL) >= 5  # as words, in the note, the table, the metric's name and beside the picture
    assert "url(" not in made(tmp_path) and "@import" not in made(tmp_path)


def test_it_holds_what_was_measured(tmp_path: Path) -> None:
    text = made(tmp_path)
    page = Page(text)
    assert "98.7%" in page.text and "undefined" in page.text
    pictures = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 2 and all(base64.b64decode(str(p).partition(",")[2]).startswith(b"\x89PNG") for p in pictures)
    # classes by rising F1, one without a sample last; a table as wide as a confusion matrix is left to its picture
    assert page.text.index("0.1\n") < page.text.index("0.9\n") < page.text.index("空\n")
    assert "confusion" not in page.text


def test_the_time_of_a_step_is_the_mean_over_the_steps(tmp_path: Path) -> None:
    """10 steps of 1 ms and 20 of 4 ms of waiting, 30 of 3 ms of work."""
    page = Page(made(tmp_path))
    assert re.findall(r"([\d.]+) ms", page.text) == ["3", "3"] and page.text.count("50.0%") == 2
    assert report.time_split([{"step": 1, "epoch": 1, "seconds": 1}]) == []
