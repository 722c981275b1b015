"""Against TRL's SFTTrainer with the same weights, the same tokens in the same order, float32: loss, gradient, and a trajectory."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liandan.data import tokenizer as tokenizers
from liandan.data.order import Order
from liandan.data.template import TEMPLATES
from liandan.engine import session
from liandan.models.adapter import is_adapter
from liandan.recipe import Recipe, make_recipe
from liandan.runs import store
from liandan.runtime import assemble, weights
from liandan.runtime.device import Device

transformers = pytest.importorskip("transformers")
trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")
peft = pytest.importorskip("peft")

STEPS, BATCH, MICRO, LR = 20, 8, 4, 3e-3
POEMS = "床前明月光，疑是地上霜。举头望明月，低头思故乡。白日依山尽，黄河入海流。欲穷千里目，更上一层楼。春眠不觉晓，处处闻啼鸟。"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with a tokenizer, and 80 questions with answers of 1 to 40 characters."""
    place = tmp_path_factory.mktemp("问答")
    draw = random.Random(0)
    pairs = [("".join(draw.choices(POEMS, k=draw.randint(2, 12))), "".join(draw.choices(POEMS, k=draw.randint(1, 40)))) for _ in range(80)]
    (place / "qa.json").write_text(json.dumps([{"prompt": q, "completion": a} for q, a in pairs]), encoding="utf-8")
    kept = tokenizers.train([q + a for q, a in pairs], "bpe", 320)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=kept.vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, initializer_range=0.1,
        pad_token_id=0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(place / "base")
    for name, value in kept.transformers_files(128, {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}, TEMPLATES["chatml"]).items():
        (place / "base" / name).write_text(json.dumps(value), encoding="utf-8")
    return place


def recipe(place: Path, run: str, lora: bool, packing: bool) -> Recipe:
    beside = {"adapter": {"name": "lora", "rank": 4, "alpha": 8.0}} if lora else {}
    return make_recipe({
        "version": 1, "task": "sft", "data": {"train": str(place / "qa.json"), "val": None, "text": {"context": 96, "packing": packing}},
        "model": {"name": f"hf/{place / 'base'}", "weights": "pretrained", **beside},
        "optimizer": {"name": "adamw", "lr": LR, "weight_decay": 0.0},
        "train": {"duration": {"steps": STEPS}, "batch_size": BATCH, "micro_batch_size": MICRO, "clip_norm": 1.0, "precision": "fp32",
                  "threads": 1, "log_every": 1},
        "checkpoint": {"every": {"steps": STEPS}}, "run": {"dir": str(place / run)},
    })  # fmt: skip


def trainer(place: Path, parts: Any, lora: bool) -> Any:
    """TRL's, on liandan's own tokens in the order of liandan's steps."""
    order = Order(len(parts.train), BATCH, parts.recipe.seed)
    samples = [parts.train.sample(int(i)) for indices, _ in order.steps(0, STEPS) for i in indices]
    rows = [{"input_ids": s["ids"].tolist(), "labels": torch.where(s["weights"] > 0, s["ids"], -100).tolist()} for s in samples]
    logging.disable(logging.WARNING)
    arguments = trl.SFTConfig(
        output_dir=str(place / "trl"), per_device_train_batch_size=MICRO, gradient_accumulation_steps=BATCH // MICRO, max_steps=STEPS,
        learning_rate=LR, lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, logging_steps=1, save_strategy="no",
        report_to="none", bf16=False, gradient_checkpointing=False, use_cpu=True, train_sampling_strategy="sequential", max_length=None,
        disable_tqdm=True, dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_pretrained(place / "base", dtype=torch.float32)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear") if lora else None
    made = trl.SFTTrainer(
        model=model, args=arguments, train_dataset=datasets.Dataset.from_list(rows), peft_config=config,
        processing_class=transformers.AutoTokenizer.from_pretrained(place / "base"),
    )  # fmt: skip
    if lora:  # the same beginning: A is drawn, each by its own rule
        ours = {f"base_model.model.{n}": p for n, p in parts.model.named_parameters() if is_adapter(n)}
        lost = made.model.load_state_dict({n: p.detach().clone() for n, p in ours.items()}, strict=False)
        assert not lost.unexpected_keys
    return made


@pytest.mark.parametrize("lora", [False, True])
def test_one_batch_has_trls_loss_and_gradient(place: Path, lora: bool) -> None:
    asked = recipe(place, "unused", lora, packing=True)
    parts = assemble.assemble(asked, Device(), initial=weights.find(asked))
    theirs = trainer(place, parts, lora)
    theirs.model.train()
    batch = next(iter(theirs.get_train_dataloader()))
    loss = theirs.compute_loss(theirs.model, dict(batch))
    loss.backward()

    ours = next(iter(parts.loader.training(BATCH, MICRO, 0, 1)))[0]
    ours = parts.task.prepare(parts.model, ours)
    sums, _ = parts.task.loss(parts.model, ours)
    mean = sums["loss"] / parts.task.count(ours)["loss"]
    mean.backward()
    assert mean.item() == pytest.approx(loss.item(), rel=1e-6)
    gradients = {n.removeprefix("base_model.model."): p.grad for n, p in theirs.model.named_parameters() if p.grad is not None}
    assert set(gradients) == {n for n, _ in parts.named}
    scale = max(float(g.abs().max()) for g in gradients.values())
    for name, parameter in parts.named:
        assert parameter.grad is not None and (parameter.grad - gradients[name]).abs().max() < 1e-5 * scale, name


@pytest.mark.parametrize(("lora", "packing"), [(False, False), (True, True)])
def test_twenty_steps_are_trls(place: Path, lora: bool, packing: bool) -> None:
    asked = recipe(place, f"run-{lora}", lora, packing)
    parts = assemble.assemble(asked, Device(), initial=weights.find(asked))
    start = {n: p.detach().clone() for n, p in parts.named}
    theirs = trainer(place, parts, lora)
    theirs.train()
    told = [row for row in theirs.state.log_history if "grad_norm" in row]

    outcome = session.start(asked)
    rows = [json.loads(line) for line in outcome.layout.metrics.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(told) == STEPS and rows[0]["train/loss"] > 1.05 * rows[-1]["train/loss"]
    np.testing.assert_allclose([r["train/loss"] for r in rows], [r["loss"] for r in told], rtol=2e-4)
    np.testing.assert_allclose([r["train/gradient_norm"] for r in rows], [r["grad_norm"] for r in told], rtol=2e-3)
    end = store.read_checkpoint(outcome.layout.checkpoint(STEPS))[0]["model.safetensors"]
    final = {n.removeprefix("base_model.model."): p.detach() for n, p in theirs.model.named_parameters()}
    for name, before in start.items():
        moved = float((end[name] - before).norm())
        assert moved > 0 and float((final[name] - end[name]).norm()) < 1e-2 * moved, name
