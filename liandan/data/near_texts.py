"""Which texts say nearly the same, and how much of one text stands in others: by shingles, the runs of a few words in a row.

A word is what stands between spaces and punctuation; of Chinese and Japanese, which have no spaces, it is a character. Case, width
(ｆｕｌｌ or full) and punctuation make no difference.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from liandan.data.errors import DataError

WORDS = 3  # of a shingle by which near copies are found
LEAKED = 8  # words in a row that two texts hardly share by chance
_PERMUTATIONS = 128  # of a MinHash (Broder, "On the resemblance and containment of documents", 1997)
_WEIGHTS = (0.1, 0.9)  # of pairs that are looked at in vain, and of pairs that are missed: what is looked at is judged exactly
_DENSE = "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_DENSE}]|[^\\W_{_DENSE}]+")
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def near(texts: Sequence[str], threshold: float = 0.8) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j: text j is nearly the same as text i, and i is no near copy itself. Every near copy comes once.

    Candidates are found by MinHash and locality-sensitive hashing, then judged by the texts themselves, so no pair below the threshold is
    told; one a little above it may be missed.

    Args:
        threshold: of the Jaccard similarity, above 0 and up to 1: shingles that both have, of those that either has.

    Raises:
        DataError: datasketch is not installed.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as error:
        raise DataError(f'near copies of texts need datasketch ({error}): pip install "liandan[text]"') from error
    index: Any = MinHashLSH(threshold, _PERMUTATIONS, weights=_WEIGHTS)
    empty = MinHash(_PERMUTATIONS, hashfunc=int)
    found: list[tuple[int, int]] = []
    for j, text in enumerate(texts):
        own = shingles(text, WORDS)
        if not len(own):
            continue
        sketch = empty.copy()
        sketch.update_batch((own & np.uint64(0xFFFFFFFF)).tolist())
        first = next((i for i in sorted(index.query(sketch)) if similarity(own, shingles(texts[int(i)], WORDS)) >= threshold), None)
        if first is None:
            index.insert(j, sketch, check_duplication=False)
        else:
            found.append((first, j))
    return found


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Jaccard similarity of two sets, as `shingles` gives them."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / max(1, len(a) + len(b) - both)


def shared(texts: Iterable[str], others: Iterable[str], words: int = LEAKED) -> Iterator[float]:
    """For each text, the part (0 to 1) of its runs of `words` words that stand in any of `others`; 0 of a shorter one, and of an empty one.

    Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C, count training texts in the tests in this way.
    """
    known = np.unique(np.concatenate([np.zeros(0, np.uint64), *(runs(text, words) for text in others)]))
    for text in texts:
        own = runs(text, words)
        yield float(np.isin(own, known).mean()) if len(own) else 0.0


def shingles(text: str, words: int) -> np.ndarray:
    """uint64 (n,), sorted and distinct: the hashes of a text's runs of `words` words; of a shorter text, of the whole."""
    hashes = _hashes(text)
    return np.unique(_runs(hashes, min(words, len(hashes))))


def runs(text: str, words: int) -> np.ndarray:
    """uint64 (n,): the hashes of a text's runs of `words` words, in order; none of a shorter text."""
    return _runs(_hashes(text), words)


def _hashes(text: str) -> np.ndarray:
    said = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return np.array([_hash(word) for word in said], dtype=np.uint64)


@lru_cache(maxsize=1 << 18)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _runs(hashes: np.ndarray, words: int) -> np.ndarray:
    """Rolling hashes, modulo 2^64, of neighbors."""
    count = len(hashes) - words + 1
    if words < 1 or count < 1:
        return np.zeros(0, dtype=np.uint64)
    out = np.zeros(count, dtype=np.uint64)
    for k in range(words):
        out = out * _PRIME + hashes[k : k + count]
    return out ^ (out >> np.uint64(29))  # the low bits of a product know nothing of the high ones
