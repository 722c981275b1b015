"""Exported runs, opened by plain transformers: the same logits, the same tokens of a conversation, the same answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from liandan import api
from liandan.data import tokenizer as tokenizers
from liandan.data.errors import DataError
from liandan.deploy.export import ExportError, Unfaithful
from liandan.models import adapter
from liandan.tasks import text_metrics

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

PAIRS = [
    ("白日依山盡？", "黃河入海流。"),
    ("欲窮千里目？", "更上一層樓。"),
    ("Who wrote it?", "Wang Zhihuan."),
    ("床前明月光？", "疑是地上霜。"),
]
MESSAGES = [
    {"role": "system", "content": "你是詩人。"}, {"role": "user", "content": PAIRS[0][0]}, {"role": "assistant", "content": PAIRS[0][1]},
    {"role": "user", "content": PAIRS[2][0]},
]  # fmt: skip
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + ': ' + m['content'] | trim + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
)
RECIPE = """
version: 1
task: sft
name: 問答
data: {{train: {data}, val: {data}, text: {{tokenizer: auto, vocab_size: 300, context: 96}}}}
model: {model}
optimizer: {{name: adamw, lr: 0.02}}
train: {{duration: {{steps: {steps}}}, batch_size: 4, precision: {precision}, threads: 1}}
evaluate: {{every: {{steps: 1000}}}}
checkpoint: {{every: {{steps: 1000}}}}
run: {{dir: {run}}}
device: cpu
"""
KINDS = ("gpt", "full", "lora", "dora")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """qa.json, and base/: a small Llama in bfloat16 with a template of its own, as transformers leaves it."""
    place = tmp_path_factory.mktemp("導出")
    (place / "qa.json").write_text(json.dumps([{"prompt": q, "completion": a} for q, a in PAIRS]), encoding="utf-8")
    kept = tokenizers.train([q + a for q, a in PAIRS], "bpe", 300)
    files = kept.transformers_files(96, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}, TEMPLATE)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=kept.vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=96, tie_word_embeddings=True, initializer_range=0.2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(place / "base")
    files["generation_config.json"] = {"temperature": 0.3, "top_p": 0.9, "do_sample": True, "eos_token_id": kept.ids(["<|im_end|>"])}
    for name, value in files.items():
        (place / "base" / name).write_text(json.dumps(value), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def trained(place: Path) -> Callable[[str], api.Run]:
    """Runs by kind, each trained once."""
    made: dict[str, api.Run] = {}

    def train(kind: str) -> api.Run:
        if kind not in made:
            model = "{name: liandan/gpt, n_layer: 2, n_head: 2, n_kv_head: 1, width: 32}"
            if kind != "gpt":
                beside = f", adapter: {{name: {kind}, rank: 4}}" if kind in adapter.NAMES else ""
                beside = ", adapter: {name: lora, rank: 4}, quantize: nf4" if kind == "4 bits" else beside
                model = f"{{name: hf/{place / 'base'}, weights: pretrained{beside}}}"
            values = {"data": place / "qa.json", "model": model, "run": place / kind}
            values |= {"steps": 100 if kind == "gpt" else 6, "precision": "bf16" if kind in ("lora", "4 bits") else "fp32"}
            (place / f"{kind}.yaml").write_text(RECIPE.format(**values), encoding="utf-8")
            made[kind] = api.train(place / f"{kind}.yaml")
        return made[kind]

    return train


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_the_same_model(trained: Callable[[str], api.Run], place: Path, kind: str) -> None:
    run = trained(kind)
    (told,) = run.export("hf")
    folder = run.layout.export("hf")
    assert told["written"] == 16
    assert told["path"] == str(folder) and told["largest_difference"] < 1e-4 and [f.name for f in folder.parent.iterdir()] == ["hf"]

    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.from_numpy(run.opened.pipeline.prompt(MESSAGES))[None]
    with torch.no_grad():
        ours = run.opened.model(ids)
        assert theirs.dtype == torch.float32 and torch.allclose(theirs(ids).logits, ours, atol=1e-4)
        if kind != "gpt":
            base = transformers.AutoModelForCausalLM.from_pretrained(place / "base", dtype=torch.float32)
            assert not torch.allclose(base(ids).logits, ours, atol=1e-2)  # something was learned
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            assert not [name for name in opened.keys() if "lora" in name or "base_layer" in name]  # noqa: SIM118


def test_what_was_held_in_4_bits_is_written_whole(trained: Callable[[str], api.Run]) -> None:
    run = trained("4 bits")
    kept = run.layout.checkpoint(6) / "model.safetensors"
    with safe_open(kept, "pt") as opened:
        assert {opened.get_tensor(name).dtype for name in opened.keys()} == {torch.float32}  # noqa: SIM118 - the adapter's, beside bfloat16
    (told,) = run.export("hf")
    assert told["written"] == 16 and told["largest_difference"] < 1e-4


@pytest.mark.parametrize("kind", ["gpt", "full"])
def test_transformers_asks_and_answers_alike(trained: Callable[[str], api.Run], kind: str) -> None:
    run = trained(kind)
    run.export("hf")
    folder = run.layout.export("hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pipeline = run.opened.pipeline
    for messages in (MESSAGES, MESSAGES[:2], MESSAGES[1:2]):
        theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert list(theirs) == pipeline.prompt(messages).tolist()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert model.generation_config.eos_token_id == list(pipeline.template.stops)
    assert kind == "gpt" or (model.generation_config.temperature, model.generation_config.top_p) == (0.3, 0.9)
    prompt = torch.tensor([pipeline.prompt(MESSAGES[1:2]).tolist()])
    written = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=40, pad_token_id=0)[0]
    answer = tokenizer.decode(written[prompt.shape[1] :], skip_special_tokens=True)
    (ours,) = run.predict([MESSAGES[1]["content"]])
    assert answer == ours["text"]
    assert kind != "gpt" or answer == PAIRS[0][1]


@pytest.mark.parametrize("tokens", [False, True])
def test_a_model_that_only_learned_to_write_goes_without_a_template(tmp_path: Path, tokens: bool) -> None:
    """From text with its tokenizer; from tokens without one."""
    data = tmp_path / ("ids.npy" if tokens else "詩.txt")
    if tokens:
        np.save(data, np.arange(400, dtype=np.uint16) % 50)
    else:
        data.write_text("".join(f"{q}{a}\n" for q, a in PAIRS) * 20, encoding="utf-8")
    short = {"data.train": str(data), "train.duration.steps": 2, "evaluate.every.steps": 2, "train.threads": 1}
    run = api.train("language_model/tiny", {**short, "run.dir": str(tmp_path / "run")})
    (told,) = run.export("hf", tmp_path / "out")
    assert told["largest_difference"] < 1e-4 and told["tokens"] > 4
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, run.opened.model(ids), atol=1e-4)
    assert (tmp_path / "out" / "tokenizer.json").exists() is not tokens
    if not tokens:
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
        assert tokenizer(PAIRS[0][0])["input_ids"] == run.opened.pipeline.encode(PAIRS[0][0]).tolist()
        assert tokenizer.decode(tokenizer(PAIRS[2][1])["input_ids"]) == PAIRS[2][1] and tokenizer.chat_template is None


def test_answers_are_judged_beside_the_numbers_of_training(trained: Callable[[str], api.Run], monkeypatch: Any) -> None:
    """A model that knows its answers by heart is told so, and metrics.json stays what training wrote."""
    run = trained("gpt")
    folder = run.layout.evaluation("val")
    before = (folder / "metrics.json").read_bytes()
    silent = run.evaluate(answers=0)
    assert set(silent) == {f"val/{name}" for name in ("loss", "perplexity", "bits_per_byte", "token_accuracy")}
    assert not (folder / "answers.jsonl").exists()
    found = run.evaluate()
    assert silent.items() <= found.items() and (folder / "metrics.json").read_bytes() == before
    assert found["val/exact_match"] == 1.0 and found["val/rouge-1"] == found["val/rouge-l-compatible"] == pytest.approx(100)
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["question"], row["expected"], row["answer"]) for row in rows] == [(q, a, a) for q, a in PAIRS]
    assert all(row["scores"]["exact_match"] for row in rows) and rows[0]["name"] == "qa.json:1"
    with monkeypatch.context() as lacking:
        lacking.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
        text_metrics._bleu.cache_clear()
        with pytest.raises(DataError, match=r'judging answers needs sacrebleu.*: pip install "liandan\[text\]"; or .* --answers 0'):
            run.evaluate()
        assert run.evaluate(answers=0) == silent
    run.evaluate(answers=3)
    assert len((folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    told = json.loads((folder / "answers.json").read_text())
    assert (told["answers"], told["samples"]) == (3, 4)


def not_merged(model: torch.nn.Module) -> torch.nn.Module:
    return model


def half_merged(model: torch.nn.Module) -> torch.nn.Module:
    """The base alone."""
    for name, layer in list(model.named_modules()):
        if hasattr(layer, "get_base_layer"):
            model.set_submodule(name, layer.get_base_layer())  # pyright: ignore[reportCallIssue, reportArgumentType]
    return model


@pytest.mark.parametrize("mutant", [not_merged, half_merged])
def test_another_model_is_not_left_behind(trained: Callable[[str], api.Run], monkeypatch: Any, tmp_path: Path, mutant: Any) -> None:
    monkeypatch.setattr(adapter, "merge", mutant)
    with pytest.raises(Unfaithful, match="logits differ"):
        trained("lora").export("hf", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_another_template_is_not_left_behind(trained: Callable[[str], api.Run], monkeypatch: Any, tmp_path: Path) -> None:
    plain = tokenizers.Tokenizer.transformers_files
    monkeypatch.setattr(
        tokenizers.Tokenizer, "transformers_files", lambda self, context, special, jinja: plain(self, context, special, f"{jinja}!")
    )
    with pytest.raises(Unfaithful, match="same tokens of a question"):
        trained("gpt").export("hf", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_told(trained: Callable[[str], api.Run], tmp_path: Path) -> None:
    run = trained("gpt")
    with pytest.raises(ExportError, match='no format "hg"; there are: hf'):
        run.export("hg")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="is there already"):
        run.export("hf", tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]
