"""Multiple choice against lm-evaluation-harness itself, by the very command and task that the documentation shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from liandan import api
from tests.zygote import ROOT

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.slow

PAGE = "docs/judging-language-models.md"
# what `lm_eval` runs, for each of several command lines
BOTH = "import json, sys; from lm_eval.__main__ import cli_evaluate\nfor sys.argv in json.loads(sys.argv[1]): cli_evaluate()"
COUPLETS = [
    ("白日依山盡，", "黃河入海流。"), ("欲窮千里目，", "更上一層樓。"), ("牀前看月光，", "疑是地上霜。"), ("舉頭望山月，", "低頭思故鄉。"),
    ("千山鳥飛絕，", "萬徑人蹤滅。"), ("孤舟蓑笠翁，", "獨釣寒江雪。"), ("春眠不覺曉，", "處處聞啼鳥。"), ("夜來風雨聲，", "花落知多少。"),
]  # fmt: skip


def block(kind: str) -> str:
    (text,) = re.findall(rf"```{kind}\n(.*?)```", (ROOT / PAGE).read_text(encoding="utf-8"), flags=re.S)
    return text


def exam(path: Path) -> None:
    """Real lines; some choices are longer than others, so that what is normalized differs from what is not."""
    rows = []
    for i, (asked, right) in enumerate(COUPLETS):
        others = [COUPLETS[(i + k) % len(COUPLETS)][1] for k in (1, 3)]
        several = [others[0][:3], others[1] + others[0], "".join(others)[:2], right]
        rows += [{"question": asked, "choices": several[-k:] + several[:-k], "answer": (3 + k) % 4} for k in range(4)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def trained(place: Path, task: str) -> api.Run:
    """A model that has learned something of a few couplets, and not all of it."""
    short = {"train.duration.steps": 12, "evaluate.every.steps": 12, "schedule": {"name": "constant"}, "train.ema": None}
    if task == "sft":
        data = place / "qa.json"
        data.write_text(json.dumps([{"prompt": q, "completion": a} for q, a in COUPLETS], ensure_ascii=False), encoding="utf-8")
    else:
        data = place / "詩.txt"
        data.write_text("".join(f"{q}{a}\n" for q, a in COUPLETS) * 20, encoding="utf-8")
    values = {"data.train": str(data), "run.dir": str(place / task), "data.val": None}
    return api.train(f"{task}/tiny", {**short, **values, "train.precision": "fp32", "train.threads": 1, "device": "cpu"})


def test_the_documented_command_finds_the_same(tmp_path: Path) -> None:
    """For a model that writes, and through its template for one that answers; both in one process, for it takes long to load."""
    exam(tmp_path / "exam.jsonl")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "choices.yaml").write_text(block("yaml"), encoding="utf-8")
    export, (variable, program, *words) = (shlex.split(line) for line in block("console").splitlines())
    assert export[:2] == ["liandan", "export"] and export[-2:] == ["--out", "exported"] and program == "lm_eval"
    runs = {task: trained(tmp_path, task) for task in ("language_model", "sft")}
    commands = []
    for task, run in runs.items():
        run.export("hf", tmp_path / f"exported-{task}")
        more = ["--log_samples", "--output_path", f"found-{task}", *(["--apply_chat_template"] if task == "sft" else [])]
        commands.append([program, *(word.replace("=exported,", f"=exported-{task},") for word in words), *more])
    environment = {**os.environ, **dict([variable.split("=")]), "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, "-c", BOTH, json.dumps(commands)]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for task, run in runs.items():
        ours = run.evaluate(str(tmp_path / "exam.jsonl"))
        (told,) = (tmp_path / f"found-{task}").rglob("results_*.json")
        theirs = json.loads(told.read_text())["results"]["choices"]
        same = {"accuracy": "acc", "accuracy_stderr": "acc_stderr", **({"accuracy_norm": "acc_norm"} if task == "language_model" else {})}
        for name, called in same.items():
            assert ours[f"exam/{name}"] == pytest.approx(theirs[f"{called},none"]), name
        kept = run.layout.evaluation("exam") / "choices.jsonl"
        rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
        assert {row["prediction"] == row["prediction_norm"] for row in rows} == {True, False}  # otherwise nothing tells the two apart
        for row, sample in zip(rows, samples(tmp_path / f"found-{task}"), strict=True):
            assert row["question"] == sample["doc"]["question"]
            found = [float(response[0]) for response in sample["filtered_resps"]]
            # through a template the harness counts the line feed that ends the template's opening to the answer: the same for every answer
            line_feed = found[0] - row["loglikelihood"][0] if task == "sft" else 0.0
            assert [score + line_feed for score in row["loglikelihood"]] == pytest.approx(found, abs=2e-3)


def samples(folder: Path) -> list[dict[str, Any]]:
    (file,) = folder.rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted(rows, key=lambda row: row["doc_id"])
