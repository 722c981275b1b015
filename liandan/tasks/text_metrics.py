"""Judging written answers against expected ones: ROUGE and BLEU by two definitions, and exact match.

standard     What the measures mean. ROUGE (Lin, "ROUGE", 2004): F1 over n-gram counts, and over the longest common subsequence, of words
             in lower case without punctuation; the mean over answers. BLEU (Papineni et al., 2002; Post, "A call for clarity in reporting
             BLEU scores", 2018): of all answers together. Chinese and Japanese count by characters, other languages by words.
compatible   What LLaMA-Factory prints, to compare with its figures: ROUGE over sets of n-grams of jieba's words, so that repeating them
             costs nothing; BLEU over single characters in any language, so that letters in common are likeness; the mean over answers.

Exact match is of what is left without case, width of characters, and white space and punctuation around the text, which decide nothing.

All are percentages, and exact match a fraction. rouge-score and sacrebleu, rouge-chinese, jieba and nltk do the counting.
"""

from __future__ import annotations

import logging
import re
import tempfile
import unicodedata
from collections.abc import Sequence
from functools import cache
from statistics import fmean
from typing import Any

from liandan.data.choices import DENSE
from liandan.data.errors import DataError

ROUGE = ("rouge-1", "rouge-2", "rouge-l")
MEASURES = (*ROUGE, "bleu-4")
_THEIRS = dict(zip(ROUGE, ("rouge1", "rouge2", "rougeL"), strict=True))
_CHARACTER = re.compile(f"[{DENSE}]")
_WORD = re.compile(r"[^\W_]+")
_MARKS = ("Po", "Ps", "Pe", "Pi", "Pf")  # Unicode's punctuation without dashes and connectors


def judge(answers: Sequence[str], expected: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Each answer judged, and all of them together.

    Returns:
        For each {"standard": {measure: percent}, "compatible": {measure: percent}, "exact_match": bool}; and
        {measure, measure + "-compatible", "exact_match"} of the whole, {} of none.

    Raises:
        DataError: a library is not installed.
    """
    pairs = list(zip(answers, expected, strict=True))
    rows = [
        {"standard": standard(answer, wanted), "compatible": compatible(answer, wanted), "exact_match": exact_match(answer, wanted)}
        for answer, wanted in pairs
    ]
    if not rows:
        return [], {}
    whole: dict[str, float] = {name: fmean(row["standard"][name] for row in rows) for name in ROUGE}
    whole["bleu-4"] = _bleu().corpus_score([spaced(answer) for answer in answers], [[spaced(wanted) for wanted in expected]]).score
    whole |= {f"{name}-compatible": fmean(row["compatible"][name] for row in rows) for name in MEASURES}
    return rows, {**whole, "exact_match": fmean(row["exact_match"] for row in rows)}


def load() -> None:
    """Load the libraries that judge; raises DataError where one is not installed."""
    for library in (_rouge, _bleu, _compatible):
        library()


def standard(answer: str, expected: str) -> dict[str, float]:
    """{measure: percent} of one answer; its BLEU counts n-grams only as long as the answer has room for."""
    found = _rouge().score(expected, answer)
    scores = {name: 100.0 * found[theirs].fmeasure for name, theirs in _THEIRS.items()}
    return {**scores, "bleu-4": _bleu().sentence_score(spaced(answer), [spaced(expected)]).score}


def compatible(answer: str, expected: str) -> dict[str, float]:
    """{measure: percent} of one answer as LLaMA-Factory computes them, rounded as there."""
    cut, rouge, bleu, smoothing = _compatible()
    ours, theirs = (" ".join(cut(text)) for text in (answer, expected))
    if ours.split() and theirs.split():
        (found,) = rouge.get_scores(ours, theirs)
        scores: dict[str, float] = {name: round(100 * found[name]["f"], 4) for name in ROUGE}
    else:
        scores = dict.fromkeys(ROUGE, 0.0)
    return {**scores, "bleu-4": round(100 * float(bleu([list(expected)], list(answer), smoothing_function=smoothing)), 4)}


def exact_match(answer: str, expected: str) -> bool:
    """Whether two texts are the same but for case, compatible forms of characters (２ and 2), the amount of white space, and the white
    space, quotes and marks around them; a sign or a percent sign is none of these."""
    return _bare(answer) == _bare(expected)


def _bare(text: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    start, end = 0, len(text)
    while start < end and _decides_nothing(text[start]):
        start += 1
    while start < end and _decides_nothing(text[end - 1]):
        end -= 1
    return text[start:end] or text


def _decides_nothing(character: str) -> bool:
    return character == " " or (unicodedata.category(character) in _MARKS and character not in "%‰#@&*")


def spaced(text: str) -> str:
    """Text with spaces around each character that stands for a word or syllable of its own."""
    return _CHARACTER.sub(r" \g<0> ", text)


class _Words:
    """What rouge-score asks of a tokenizer: words in lower case without punctuation, Chinese and Japanese by characters."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(spaced(text.lower()))


@cache
def _rouge() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise _lacking(error) from error
    return RougeScorer(list(_THEIRS.values()), tokenizer=_Words())


@cache
def _bleu() -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise _lacking(error) from error
    return BLEU(effective_order=True)


@cache
def _compatible() -> tuple[Any, Any, Any, Any]:
    try:
        import jieba
        from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
        from rouge_chinese import Rouge
    except ImportError as error:
        raise _lacking(error) from error
    jieba.setLogLevel(logging.WARNING)
    words: Any = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as private:  # its cache would lie in the machine's own, where anyone can put another
        words.tmp_dir = private
        words.initialize()
    return words.cut, Rouge(), sentence_bleu, SmoothingFunction().method3


def _lacking(error: ImportError) -> DataError:
    return DataError(f'judging answers needs {error.name}: pip install "liandan[text]"; or leave them out with --answers 0')
