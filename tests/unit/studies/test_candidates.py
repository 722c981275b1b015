"""Language models side by side on one's own data: the numbers of `evaluate`, each in a process of its own, none on what it has learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liandan import api
from liandan.runs.layout import RunError
from liandan.runtime.candidate import open_candidate, samples_of
from liandan.studies.candidates import FACTS, Job, compare, judge
from tests.zygote import Zygote

pytest.importorskip("transformers")
PAIRS = [
    ("白日依山盡？", "黃河入海流。"), ("欲窮千里目？", "更上一層樓。"), ("Who wrote it?", "Wang Zhihuan."),
    ("牀前看月光？", "疑是地上霜。"), ("舉頭望山月？", "低頭思故鄉。"), ("千山鳥飛絕？", "萬徑人蹤滅。"),
]  # fmt: skip
SHORT = {
    "train.duration.steps": 6, "evaluate.every.steps": 6, "schedule": {"name": "constant"}, "train.threads": 1, "train.ema": None,
    "train.precision": "fp32", "device": "cpu", "evaluate.batch_size": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """poet/ and writer/, small runs; base/, a folder of transformers with a template; data of each kind that none of them has seen."""
    place = tmp_path_factory.mktemp("候選")
    rows(place / "qa.jsonl", [{"prompt": q, "completion": a} for q, a in PAIRS * 3])
    (place / "詩.txt").write_text("".join(f"{q}{a}\n\n" for q, a in PAIRS) * 30, encoding="utf-8")
    api.train("sft/tiny", {**SHORT, "data.train": str(place / "qa.jsonl"), "data.val": {"hold_out": 0.3}, "run.dir": str(place / "poet")})
    api.train("language_model/tiny", {**SHORT, "data.train": str(place / "詩.txt"), "run.dir": str(place / "writer")})
    api.open_run(place / "poet").export("hf", place / "base")
    rows(place / "mine.jsonl", [{"instruction": f"{q} ({n})", "output": a} for n in range(2) for q, a in PAIRS])
    rows(place / "exam.jsonl", [{"question": q, "choices": [a, PAIRS[0][0]], "answer": 0} for q, a in PAIRS])
    (place / "text.txt").write_text("".join(f"{a}\n" for _, a in PAIRS), encoding="utf-8")
    return place


def rows(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def job(target: Path, data: Path, **more: Any) -> Job:
    return Job(**{"target": str(target), "targets": (str(target),), "data": str(data), "limit": 0, "answers": 0, "few_shot": None, **more})


@pytest.mark.parametrize(
    ("run", "data"), [("poet", "mine.jsonl"), ("poet", "exam.jsonl"), ("writer", "text.txt"), ("writer", "exam.jsonl")]
)
def test_the_numbers_are_those_of_evaluate(place: Path, run: str, data: str) -> None:
    found = judge(job(place / run, place / data))
    told = api.open_run(place / run).evaluate(str(place / data), answers=0)
    assert told and {name.partition("/")[2]: value for name, value in told.items()} == pytest.approx(
        {name: value for name, value in found.items() if name not in (*FACTS, "target")}, rel=1e-6, nan_ok=True
    )
    assert found["prefill_tokens_per_second"] > 0 and found["decode_tokens_per_second"] > 0 and found["peak_memory"] > 1e6


def test_an_exported_folder_is_the_run_it_was_exported_from(place: Path) -> None:
    run, folder = (judge(job(place / name, place / "mine.jsonl", answers=3)) for name in ("poet", "base"))
    quality = [name for name in run if name not in (*FACTS, "target")]
    assert len(quality) > 10 and [folder[name] for name in quality] == pytest.approx([run[name] for name in quality], rel=1e-4)
    assert folder["template"] == run["template"] == "its own" and folder["parameters"] == run["parameters"]


def test_the_speed_is_that_of_what_chat_writes_with(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = open_candidate(str(place / "poet"))
    # the model's own step would cast every weight that a LoRA froze anew for each token: chat has a writer for that
    monkeypatch.setattr(candidate.model, "step", None)
    assert candidate.speed("天地玄黃")["decode_tokens_per_second"] > 0


def test_a_model_that_only_writes_is_asked_in_plain_text(place: Path) -> None:
    candidate = open_candidate(str(place / "writer"))
    source = samples_of(str(place / "mine.jsonl"), (), 0)
    found = candidate.judge(source, 2, [("天？", "地。")])
    assert found["bits_per_byte"] > 0 and found["rouge-1"] >= 0
    prompt = candidate._asking().prompt([{"role": "user", "content": "天？"}])
    assert candidate.tokenizer.decode(prompt) == "天？\n\n"


def test_nobody_is_judged_on_what_one_has_learned(place: Path) -> None:
    held = json.loads((place / "poet" / "data.json").read_text(encoding="utf-8"))["held_out"]
    both = (str(place / "poet"), str(place / "base"))
    chosen = samples_of(str(place / "qa.jsonl"), both, 0)
    assert sorted(chosen.name(i) for i in range(len(chosen))) == sorted(held) and 0 < len(held) < len(PAIRS) * 3
    renamed = place / "other name.jsonl"
    renamed.write_bytes((place / "qa.jsonl").read_bytes())
    assert len(samples_of(str(renamed), both, 0)) == len(held)
    assert len(samples_of(str(place / "qa.jsonl"), (str(place / "base"),), 0)) == len(PAIRS) * 3  # a folder does not say what it has seen
    assert len(samples_of(str(place / "mine.jsonl"), both, 0)) == 12
    evenly = samples_of(str(place / "mine.jsonl"), both, 4)
    assert [evenly.name(i) for i in range(4)] == ["mine.jsonl:1", "mine.jsonl:4", "mine.jsonl:7", "mine.jsonl:10"]
    facts = json.loads((place / "poet" / "data.json").read_text(encoding="utf-8"))
    whole = place / "all of it"
    whole.mkdir()
    for name in ("resolved.yaml", "recipe.yaml"):
        (whole / name).write_bytes((place / "poet" / name).read_bytes())
    (whole / "data.json").write_text(json.dumps({**facts, "held_out": None}), encoding="utf-8")
    with pytest.raises(RunError, match="give data that they have not seen"):
        samples_of(str(place / "qa.jsonl"), [str(whole)], 0)


def test_one_table_of_several(place: Path, zygote: Zygote) -> None:
    """Each in a process of its own; what cannot be judged stops nothing."""
    (place / "broken").mkdir()
    (place / "broken" / "config.json").write_text("{}")
    child = zygote.run("bench", "poet", "broken", "--data", "mine.jsonl", "--answers", "2", "--limit", "5", "--json", "--quiet", cwd=place)
    assert child.wait() == 1, child.text()
    text = child.text()
    poet, broken = json.loads(text[text.index("[") : text.rindex("]") + 1])
    assert poet["target"] == "poet" and poet["samples"] == 5 and poet["perplexity"] > 1 and poet["exact_match"] >= 0
    assert set(broken) == {"target", "error"} and "broken" in broken["error"]


def test_what_is_wrong_with_the_data_is_told_before_a_model_is_loaded(place: Path) -> None:
    (place / "bad.jsonl").write_text('{"question": "q", "choices": ["a"], "answer": 0}\n')
    with pytest.raises(ValueError, match=r"bad.jsonl:1: choices"):
        compare([str(place / "poet")], str(place / "bad.jsonl"))
    with pytest.raises(RunError, match="no run 'nobody'"):
        compare(["nobody"], str(place / "mine.jsonl"))
