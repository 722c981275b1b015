"""The commands of docs/how-a-gpt-comes-to-be.md (both languages show the same), in their order, each on what the one before has left."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from safetensors import safe_open

from liandan.runs.layout import Layout, runs_named
from tests.zygote import ROOT, Zygote

# the page's reader waits for minutes, a test need not: the same recipes, smaller and shorter
SMALL = [
    "data.train.limit=200", "data.val={hold_out: 0.1}", "data.text.context=64", "model.n_layer=1", "model.n_head=2", "model.width=16",
    "train.duration.steps=4", "evaluate.every.steps=4", "checkpoint.every.steps=4", "schedule={name: constant}", "train.threads=1",
]  # fmt: skip
OF_TASK = {"language_model/poems": ["data.text.vocab_size=300"], "sft/poems": []}


def commands(page: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith("liandan ")]


def test_the_two_pages_show_the_same() -> None:
    assert commands("how-a-gpt-comes-to-be.md") == commands("how-a-gpt-comes-to-be.zh-CN.md") != []


def test_every_stage_begins_where_the_one_before_ended(zygote: Zygote, tmp_path: Path) -> None:
    for command in commands("how-a-gpt-comes-to-be.md"):
        words = shlex.split(command)[1:]
        if words[0] == "train":
            words += [*SMALL, *OF_TASK[words[1]]]
        if words[0] == "bench":
            words += ["--limit", "3", "--answers", "0"]
        child = zygote.run(*words, cwd=tmp_path)
        assert child.wait() == 0, f"{command}\n{child.text()}"
        assert child.text(), f"{command} said nothing"  # four steps do not teach it to say more than empty lines
    (written,), (answering,) = (runs_named(name, tmp_path / "runs") for name in ("poems", "poet"))
    tokenizers = [json.loads(run.preprocessing.read_text(encoding="utf-8"))["tokenizer"] for run in (written, answering)]
    assert tokenizers[0] == tokenizers[1]
    assert f"{len(names(written))} tensors loaded" in answering.log.read_text(encoding="utf-8")
    assert str(answering.root) != str(written.root) and (answering.export("hf") / "tokenizer.json").exists()


def names(run: Layout) -> list[str]:
    (file,) = (run.checkpoints / json.loads(run.last.read_text())["checkpoint"]).glob("model.safetensors")
    with safe_open(file, "pt") as opened:
        return list(opened.keys())
