"""Answers judged: LLaMA-Factory's figures where they are asked for, and what the measures mean, by other libraries' code."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liandan.tasks.text_metrics import MEASURES, ROUGE, compatible, exact_match, judge, spaced, standard

for _library in ("jieba", "nltk", "rouge_chinese", "rouge_score", "sacrebleu"):
    pytest.importorskip(_library)

# answer, expected, and what LLaMA-Factory prints (jieba 0.42.1, nltk 3.10.4, rouge-chinese 1.0.3)
PRINTED = [
    ("今天天气很好", "今天天气很好", (100, 100, 100, 100)),
    ("今天天气不错，我们去公园玩。", "今天天气很好，我们去公园散步。", (70.5882, 40.0, 70.5882, 50.698)),
    ("北京是中国的首都", "中国的首都是北京", (100, 50, 60, 61.4788)),
    ("", "中国的首都是北京", (0, 0, 0, 0)),
    ("好", "好", (100, 0, 100, 35.3553)),
    ("苹果苹果苹果", "苹果", (100, 0, 50, 16.2334)),
    ("The cat sat on the mat.", "A dog lay on the rug.", (42.8571, 16.6667, 42.8571, 32.999)),
]
ENGLISH = [
    ("The cat sat on the mat.", "A cat sat quietly on the old mat."),
    ("It isn't 3.14, said Ann; it is 2.72!", "It is not 3.14, Ann said, it is 2.72."),
    ("one two", "three four five six seven"),
    ("to be or not to be to be", "to be or not to be"),
]
WORDS = st.lists(st.sampled_from(["red", "green", "blue", "one", "two"]), min_size=1, max_size=12).map(" ".join)


@pytest.mark.parametrize(("answer", "expected", "printed"), PRINTED)
def test_compatible_is_what_llama_factory_prints(answer: str, expected: str, printed: tuple[float, ...]) -> None:
    assert compatible(answer, expected) == pytest.approx(dict(zip(MEASURES, printed, strict=True)), abs=1e-4)


def test_standard_mends_what_is_wrong_there() -> None:
    """A perfect answer of one character is perfect, repetition costs, and letters in common are no likeness."""
    assert standard("好", "好") == pytest.approx({"rouge-1": 100, "rouge-2": 0, "rouge-l": 100, "bleu-4": 100})
    # one word in three is right, the only one there was to find: F1 = 2 * 1/3 * 1 / (4/3), by characters as by words
    assert standard("苹果苹果苹果", "苹果")["rouge-1"] == pytest.approx(50)
    assert standard("The cat sat on the mat.", "A dog lay on the rug.")["bleu-4"] < 15 < 32 < compatible(*PRINTED[-1][:2])["bleu-4"]
    assert set(standard("", "中国").values()) == {0.0}
    # characters, not words: five of eight stand in order
    assert standard("北京是中国的首都", "中国的首都是北京")["rouge-l"] == pytest.approx(100 * 5 / 8)


@pytest.mark.parametrize(("answer", "expected"), ENGLISH)
def test_standard_is_the_libraries_own_in_english(answer: str, expected: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import sentence_bleu

    found = standard(answer, expected)
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(expected, answer)
    assert [found[name] for name in ROUGE] == pytest.approx([100 * score.fmeasure for score in theirs.values()])
    assert found["bleu-4"] == pytest.approx(sentence_bleu(answer, [expected], use_effective_order=True).score)


def test_standard_is_sacrebleus_in_chinese() -> None:
    from sacrebleu import corpus_bleu

    answers, expected = zip(*[(a, e) for a, e, _ in PRINTED if e.isascii() is False], strict=True)
    _, whole = judge(answers, expected)
    assert whole["bleu-4"] == pytest.approx(corpus_bleu(list(answers), [list(expected)], tokenize="zh").score)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_standard_is_torchmetrics(pairs: list[tuple[str, str]]) -> None:
    from torchmetrics.functional.text import rouge_score

    answers, expected = zip(*pairs, strict=True)
    rows, whole = judge(answers, expected)
    theirs = rouge_score(list(answers), list(expected), rouge_keys=("rouge1", "rouge2", "rougeL"))
    assert [whole[name] / 100 for name in ROUGE] == pytest.approx([float(theirs[f"rouge{n}_fmeasure"]) for n in "12L"], abs=1e-5)
    assert whole["exact_match"] == sum(a == e for a, e in pairs) / len(pairs)
    assert [row["exact_match"] for row in rows] == [a == e for a, e in pairs]


def test_a_split_is_the_mean_of_its_answers_but_one_bleu() -> None:
    answers, expected = [a for a, _, _ in PRINTED], [e for _, e, _ in PRINTED]
    rows, whole = judge(answers, expected)
    for place, name in enumerate(MEASURES):
        assert whole[f"{name}-compatible"] == pytest.approx(sum(p[place] for _, _, p in PRINTED) / len(PRINTED), abs=1e-4)
    assert whole["rouge-1"] == pytest.approx(sum(row["standard"]["rouge-1"] for row in rows) / len(rows))
    assert whole["exact_match"] == pytest.approx(2 / 7)
    assert whole["bleu-4"] != pytest.approx(sum(row["standard"]["bleu-4"] for row in rows) / len(rows))
    assert judge([], []) == ([], {})


def test_characters_stand_alone_and_words_together() -> None:
    assert spaced("我有GPU，ひらがな 漢").split() == ["我", "有", "GPU", "，", "ひ", "ら", "が", "な", "漢"]
    assert standard("한국어 문장", "한국어 단어")["rouge-1"] == pytest.approx(50)  # Korean has spaces


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(" Paris. ", "paris"), ("４２", "42"), ("“北京”。", "北京"), ("a  b", "A B"), ("(7)", "7"), ("。", "。"), ("", " ")],
)
def test_an_exact_match_overlooks_what_decides_nothing(answer: str, expected: str) -> None:
    assert exact_match(answer, expected) and exact_match(expected, answer)


@pytest.mark.parametrize(
    ("answer", "expected"), [("-5", "5"), ("50%", "50"), ("3.14", "314"), ("ab", "a b"), ("", "。"), ("北京市", "北京"), ("$5", "5")]
)
def test_an_exact_match_overlooks_nothing_else(answer: str, expected: str) -> None:
    assert not exact_match(answer, expected) and not exact_match(expected, answer)
