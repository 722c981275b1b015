"""Part of the training data set aside to validate on: chosen once, by key, and stored as names, so that a resume takes the same."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from liandan.data.errors import DataError
from liandan.data.text import TextSource, parse_span
from liandan.data.tokens import TokenSource
from liandan.randomness import mix, permute

_HOLD_OUT = 0x5B117  # sets these keys apart from the loader's
MANY_DOCUMENTS = 100


def hold_out(source: Any, fraction: float, stratify: bool = True, seed: int = 0) -> tuple[Any, Any, list[str]]:
    """Divide a source in two.

    Images: within each class (all together without classes, or without `stratify`) the names are ranked by a hash of (seed,
    name) and the first `fraction` of them is held out: at least one, and never all, of a class with two or more. Adding an
    image moves few others across. Where images have several classes, or one of each head, each class gives its share, the rarest
    first (Sechidis et al., "On the Stratification of Multi-Label Data", ECML PKDD 2011).
    Text of at least 100 documents: a keyed choice of documents. Shorter text: its last lines. Tokens: the last of them.

    Args:
        source: what a reader returned.
        fraction: of the samples, in (0, 1).
        stratify: keep the proportions of the classes.
        seed: the run's.

    Returns:
        (training source, validation source, names of what was held out: JSON-able, for `restore`).

    Raises:
        DataError: a fraction outside of (0, 1), or too little data to divide.
    """
    if not 0 < fraction < 1:
        raise DataError(f"hold_out: expected a fraction between 0 and 1, got {fraction}")
    if isinstance(source, TextSource) and len(source) < MANY_DOCUMENTS:
        return _tail_of_text(source, fraction)
    if isinstance(source, TokenSource):
        cut = len(source) - max(2, round(len(source) * fraction))
        if cut < 2:
            raise DataError(f"{source.path}: {len(source)} tokens are too few to hold out a part of them")
        return source.between(0, cut), source.between(cut, len(source)), [f"{cut}-{len(source)}"]
    if len(source) < 2:
        raise DataError(f"{source.path}: expected at least 2 samples to hold out one of them, found {len(source)}")
    if isinstance(source, TextSource):
        order = permute(np.arange(len(source)), len(source), mix(_HOLD_OUT, seed))
        held = np.sort(order[: _share(len(source), fraction)])
    else:
        held = _held_images(source, fraction, stratify, seed)
    return *_divided(source, held), [source.name(int(i)) for i in held]


def restore(source: Any, names: list[str]) -> tuple[Any, Any]:
    """(training, validation) from the names `hold_out` gave; raises DataError for a name that is no longer there."""
    if isinstance(source, TokenSource):
        start, _, stop = names[0].partition("-")
        return source.between(0, int(start)), source.between(int(start), int(stop))
    if isinstance(source, TextSource):
        held = np.array([parse_span(source, name) for name in names], dtype=np.int64).reshape(-1, 3)
        return source.with_spans(_without(source.spans, held)), source.with_spans(held)
    where = {source.name(i): i for i in range(len(source))}
    missing = [name for name in names if name not in where]
    if missing:
        raise DataError(f"{source.path}: {len(missing)} of {len(names)} validation samples are gone, the first is {missing[0]}")
    return _divided(source, np.array([where[name] for name in names], dtype=np.int64))


def _divided(source: Any, held: np.ndarray) -> tuple[Any, Any]:
    kept = np.ones(len(source), dtype=np.bool_)
    kept[held] = False
    return source.subset(np.flatnonzero(kept)), source.subset(held)


def _share(n: int, fraction: float) -> int:
    """How many of n to hold out: at least one, and never all."""
    return min(max(1, round(n * fraction)), n - 1)


def _held_images(source: Any, fraction: float, stratify: bool, seed: int) -> np.ndarray:
    prefix = f"{seed}\0".encode()
    rank = [hashlib.sha256(prefix + source.name(i).encode()).digest() for i in range(len(source))]
    if stratify and source.targets is not None and source.targets.ndim == 2:
        return _held_of_each(_presence(source), rank, fraction)
    groups: dict[int | None, list[int]] = {}
    for i in range(len(source)):
        groups.setdefault(source.target(i) if stratify else None, []).append(i)
    held: list[int] = []
    for members in groups.values():
        if len(members) > 1:
            held.extend(sorted(members, key=rank.__getitem__)[: _share(len(members), fraction)])
    if not held:
        raise DataError(f"{source.path}: every class has a single image, so none can be held out; set data.val to a folder, or null")
    return np.sort(np.array(held, dtype=np.int64))


def _presence(source: Any) -> np.ndarray:
    """bool (N, classes): the classes an image has, those of all heads side by side."""
    if source.multi_label:
        return source.targets.astype(np.bool_)
    heads = zip(source.labels.values(), source.targets.T, strict=True)
    return np.concatenate([column[:, None] == np.arange(len(names)) for names, column in heads], axis=1)


def _held_of_each(present: np.ndarray, rank: list[bytes], fraction: float) -> np.ndarray:
    """Indices to hold out, so that each class gives its share and keeps at least one."""
    order = np.array(sorted(range(len(rank)), key=rank.__getitem__), dtype=np.int64)
    total = present.sum(axis=0)
    wanted = np.array([_share(int(n), fraction) if n > 1 else 0 for n in total], dtype=np.int64)
    held, open_ = np.zeros(len(rank), dtype=np.bool_), np.ones(len(rank), dtype=np.bool_)
    taken = np.zeros_like(wanted)
    while (left := present[open_].sum(axis=0)).any():
        label = int(np.where(left > 0, left, len(rank) + 1).argmin())
        for i in order[open_[order] & present[order, label]]:
            if taken[label] < wanted[label] and (taken + 1 < total)[present[i]].all():
                held[i] = True
                taken += present[i]
        open_ &= ~present[:, label]
    plain = order[open_[order]]  # images without any class
    held[plain[: _share(len(plain), fraction) if len(plain) > 1 else 0]] = True
    if not held.any():
        raise DataError("no image can be held out without taking a class's only one; set data.val to other data, or null")
    return np.flatnonzero(held)


def _tail_of_text(source: TextSource, fraction: float) -> tuple[TextSource, TextSource, list[str]]:
    """Cut after the line in which the first (1 - fraction) of the bytes end; within a line where there is only one."""
    lines = _line_ends(source)
    total = source.nbytes
    inside = lines[(lines > 0) & (lines < total)]
    if len(inside) == 0:
        raise DataError(f"{source.path}: a text of one line cannot be divided; set data.val to another text, or null")
    cut = int(inside[np.argmin(np.abs(inside - total * (1 - fraction)))])
    before = np.cumsum(source.spans[:, 2] - source.spans[:, 1])
    k = int(np.searchsorted(before, cut, side="right"))
    within = cut - (int(before[k - 1]) if k else 0)
    file, start, stop = source.spans[k].tolist()
    held = [[file, start + within, stop]] if within < stop - start else []
    held += source.spans[k + 1 :].tolist()
    kept = source.spans[:k].tolist() + ([[file, start, start + within]] if within else [])
    val = source.with_spans(np.array(held))
    return source.with_spans(np.array(kept)), val, [val.name(i) for i in range(len(val))]


def _line_ends(source: TextSource) -> np.ndarray:
    """int64: bytes from the start of the text to after each line feed."""
    ends, offset = [np.zeros(0, dtype=np.int64)], 0
    for k, start, stop in source.spans.tolist():
        with source.files[k].path.open("rb") as file:
            file.seek(start)
            while start < stop:
                data = np.frombuffer(file.read(min(1 << 20, stop - start)), dtype=np.uint8)
                if not len(data):
                    break
                ends.append(np.flatnonzero(data == ord("\n")) + offset + 1)
                start, offset = start + len(data), offset + len(data)
    return np.concatenate(ends)


def _without(spans: np.ndarray, held: np.ndarray) -> np.ndarray:
    """What `held` leaves of `spans`: whole documents, and of the document a cut went through, its beginning."""
    taken = {(file, start): stop for file, start, stop in held.tolist()}
    starts = {file: np.sort(held[held[:, 0] == file, 1]) for file in np.unique(held[:, 0]).tolist()}
    left = []
    for file, start, stop in spans.tolist():
        if (file, start) in taken:
            continue
        ordered = starts.get(file, np.zeros(0, dtype=np.int64))
        at = int(np.searchsorted(ordered, start))
        left.append([file, start, min(stop, int(ordered[at])) if at < len(ordered) else stop])
    return np.array(left, dtype=np.int64)
