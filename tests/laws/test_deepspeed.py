"""Laws 1 and 2 where DeepSpeed shares the optimizer out among processes: only rounding changes, and a resume ends in the same bits."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from liandan.data import tokenizer as tokenizers
from liandan.data.template import TEMPLATES
from tests.faults.runs import free_port
from tests.journeys import TINY, differences, fingerprint, movement, rows, weights
from tests.zygote import Child, Zygote

SHORT = [
    "train.precision=fp32", "train.threads=1", "data.workers=0", "train.duration.steps=12", "evaluate.every.steps=6", "train.batch_size=10",
    "train.micro_batch_size=2", "checkpoint={every: {steps: 1}, keep: 12}",
]  # fmt: skip
# few steps: rounding takes another way through a network as soon as one unit is switched off by it
PLAIN = ["train.duration.steps=6", "optimizer={name: sgd, lr: 0.05, momentum: 0.9}", "schedule={name: constant}", "train.ema=null"]
ROUNDING = 1e-4  # of the movement, in single precision
PORTS: list[str] = []  # of the runs so far


def start(
    zygote: Zygote, task: str, folder: Path, name: str, *overrides: str, processes: int = 2, mutant: str | None = None
) -> list[Child]:
    port = free_port()
    PORTS.append(port)
    group = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if processes > 1 else {}
    words = ["train", TINY[task], *SHORT, *overrides, f"run.dir={name}", "--quiet"]
    ranks = [{**group, "RANK": str(r), "LOCAL_RANK": str(r), "LOCAL_SIZE": str(processes)} if group else {} for r in range(processes)]
    return [zygote.start(*words, cwd=folder, env=env, before=[f"tests.mutants:{mutant}"] if mutant else []) for env in ranks]


def finished(children: list[Child], folder: Path, name: str) -> Path:
    for child in children:
        assert child.wait() == 0, child.text()
    left = [file for port in PORTS for file in Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_*_{port}_*")]
    assert not left, "memory between processes outlives them"
    return folder / name


def sharing(stage: int) -> str:
    return f"distributed={{strategy: deepspeed, zero: {stage}}}"


@pytest.mark.parametrize(
    ("task", "stage"),
    [("sft", 2), pytest.param("sft", 1, marks=pytest.mark.slow), pytest.param("image_classification", 2, marks=pytest.mark.slow)],
)
def test_a_shared_optimizer_changes_rounding_only(zygote: Zygote, task: str, stage: int, tmp_path: Path) -> None:
    whole = finished(start(zygote, task, tmp_path, "whole", *PLAIN, processes=1), tmp_path, "whole")
    # five micro-batches of two: one process has three of them, the other two
    shared = finished(start(zygote, task, tmp_path, "shared", *PLAIN, sharing(stage)), tmp_path, "shared")
    first = load_file(whole / "checkpoints" / "step-00000001" / "model.safetensors")
    gap = movement(weights(whole), weights(shared), first)
    assert gap <= ROUNDING, f"weights differ by {gap:.1e} of their movement"
    for a, b in zip(rows(whole), rows(shared), strict=True):
        for key in a:
            assert a[key] == pytest.approx(b[key], rel=1e-4), key
    wrong = finished(start(zygote, task, tmp_path, "wrong", *PLAIN, sharing(stage), mutant="mean_of_processes"), tmp_path, "wrong")
    assert movement(weights(whole), weights(wrong), first) > 50 * ROUNDING


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A small Llama's folder with a tokenizer. Its norms stand behind what they come before: the graph's order is not the model's."""
    transformers = pytest.importorskip("transformers")
    kept = tokenizers.train(["床前明月光疑是地上霜舉頭望明月低頭思故鄉"], "bpe", 320)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=kept.vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=192, tie_word_embeddings=True, initializer_range=0.1, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    for name, value in kept.transformers_files(192, {"eos_token": "<|im_end|>"}, TEMPLATES["chatml"]).items():
        (tmp_path / "base" / name).write_text(json.dumps(value), encoding="utf-8")
    return tmp_path / "base"


def test_gradients_are_shared_out_in_one_order(zygote: Zygote, llama: Path, tmp_path: Path) -> None:
    own = [*PLAIN, f"model={{name: hf/{llama}, weights: pretrained}}", "data.text={tokenizer: auto, context: 192, packing: true}"]
    whole = finished(start(zygote, "sft", tmp_path, "whole", *own, processes=1), tmp_path, "whole")
    first = load_file(whole / "checkpoints" / "step-00000001" / "model.safetensors")
    # five micro-batches of two: in the third backward pass one process has none, and its gradients come by another graph
    shared = finished(start(zygote, "sft", tmp_path, "shared", *own, sharing(2)), tmp_path, "shared")
    assert movement(weights(whole), weights(shared), first) <= ROUNDING
    wrong = finished(start(zygote, "sft", tmp_path, "wrong", *own, sharing(2), mutant="as_gradients_come"), tmp_path, "wrong")
    assert movement(weights(whole), weights(wrong), first) > 50 * ROUNDING


@pytest.mark.parametrize("mutant", [None, "forget_optimizer"])
def test_killed_and_resumed_ends_in_the_same_bits(zygote: Zygote, mutant: str | None, tmp_path: Path) -> None:
    whole = finished(start(zygote, "sft", tmp_path, "whole", sharing(2)), tmp_path, "whole")
    children = start(zygote, "sft", tmp_path, "killed", sharing(2))
    while not all(child.ended for child in children) and not (tmp_path / "killed" / "checkpoints" / "step-00000005").exists():
        time.sleep(0.002)
    for child in children:
        child.signal(signal.SIGKILL)
    # the second may hear that the first is gone before its own end comes
    assert -signal.SIGKILL in [child.wait() for child in children], "the run ended before it could be killed"
    killed = finished(start(zygote, "sft", tmp_path, "killed", sharing(2), "--resume", mutant=mutant), tmp_path, "killed")
    assert bool(differences(fingerprint(whole), fingerprint(killed))) == (mutant is not None)


@pytest.mark.slow
def test_what_is_shared_goes_on_alone(zygote: Zygote, tmp_path: Path) -> None:
    finished(start(zygote, "sft", tmp_path, "run", sharing(2)), tmp_path, "run")
    longer = ["train.duration.steps=14", "distributed.strategy=reduce", "--resume"]
    alone = finished(start(zygote, "sft", tmp_path, "run", *longer, processes=1), tmp_path, "run")
    assert (alone / "checkpoints" / "step-00000014").exists()


@pytest.mark.parametrize(
    ("task", "processes", "told"), [("sft", 1, "--processes 2"), ("gan", 2, "takes turns")], ids=["one process", "two players"]
)
def test_what_it_cannot_do_is_said(zygote: Zygote, task: str, processes: int, told: str, tmp_path: Path) -> None:
    children = start(zygote, task, tmp_path, "run", sharing(2), processes=processes)
    assert all(child.wait() != 0 for child in children)
    assert told in children[0].text() and "Traceback" not in children[0].text()
    assert processes == 2 or not (tmp_path / "run").exists()
