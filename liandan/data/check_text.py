"""How long labeled texts and conversations are, what of them is cut, and which say nearly the same: what `check` asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from liandan.data.conversations import ConversationSource
from liandan.data.errors import DataError
from liandan.data.labeled_text import LabeledText
from liandan.data.near_texts import near

if TYPE_CHECKING:
    from liandan.data.check import Report

_QUANTILES = (("shortest", 0.0), ("median", 0.5), ("95%", 0.95), ("longest", 1.0))
_MOST_COMPARED = 100_000  # texts, above which `dedup` is the command that looks for near copies


class Said(NamedTuple):
    """A sample in words: what tells exact copies, what is said in all, its characters, whether an assistant's turn says nothing."""

    exact: str
    whole: str
    length: int
    empty: bool


def said_of(source: LabeledText | ConversationSource, i: int) -> Said:
    """What the i-th sample says."""
    if isinstance(source, LabeledText):
        return Said(source.text(i), source.text(i), len(source.text(i)), False)
    turns = source.messages(i)
    empty = any(turn.role == "assistant" and not turn.content.strip() for turn in turns)
    exact, whole = repr([(turn.role, turn.content) for turn in turns]), "\n".join(turn.content for turn in turns)
    return Said(exact, whole, sum(len(turn.content) for turn in turns), empty)


def lengths_of(lengths: Sequence[int] | np.ndarray) -> dict[str, int]:
    """{"shortest", "median", "95%", "longest"}; nothing of no lengths."""
    return {name: int(np.quantile(lengths, q)) for name, q in _QUANTILES if len(lengths)}


def histogram(lengths: np.ndarray) -> dict[str, int]:
    """{"33-64": how many}: bins that double, from the one of the shortest to the one of the longest."""
    if not len(lengths):
        return {}
    bins = np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)  # 33 to 64 are 6
    low, high = int(bins.min()), int(bins.max())
    counts = np.bincount(bins - low, minlength=high - low + 1).tolist()
    return {f"{(1 << k) // 2 + 1 if k else 0}-{1 << k}": n for k, n in zip(range(low, high + 1), counts, strict=True)}


def token_lengths(source: LabeledText | ConversationSource, pipeline: Any, report: Report) -> None:
    """Fill in `tokens`: lengths and their histogram, all tokens, the context, how many samples it cuts, the part of all tokens it leaves
    out, how many conversations it leaves nothing to learn of; and tell what of that matters."""
    try:
        lengths, kept, learned = pipeline.lengths(source)
    except DataError as error:  # a template that does not take a conversation
        report.faults.append(str(error))
        return
    total, lost = int(lengths.sum()), int((lengths - kept).sum())
    unlearned = np.flatnonzero(learned == 0)
    report.tokens = {
        **lengths_of(lengths), "total": total, "histogram": histogram(lengths), "context": pipeline.context,
        "cut": int((lengths > kept).sum()), "lost": lost / max(total, 1), "unlearned": len(unlearned),
    }  # fmt: skip
    if lost:
        report.notes.append(
            f"{report.tokens['cut']} of {len(source)} are longer than data.text.context={pipeline.context} tokens and are cut there, "
            f"{lost / total:.1%} of all tokens; {report.tokens['95%']} would hold 95 % of them, {report.tokens['longest']} all"
        )
    if len(unlearned):
        names = ", ".join(source.name(int(i)) for i in unlearned[:3]) + (" ..." if len(unlearned) > 3 else "")
        report.faults.append(f"{len(unlearned)} leave nothing to learn within data.text.context={pipeline.context} tokens: {names}")


def near_texts_of(texts: list[str], report: Report) -> list[tuple[int, int]]:
    """Pairs of near copies; where they are not looked for, a note says why."""
    if len(texts) > _MOST_COMPARED:
        report.notes.append(f"near copies are not looked for among more than {_MOST_COMPARED:,} texts: `liandan data dedup` does that")
        return []
    try:
        return near(texts)
    except DataError as error:
        report.notes.append(f"near copies are not looked for: {error}")
        return []
