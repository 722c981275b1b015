"""Supervised fine-tuning: learn to answer, from questions with their answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from liandan.data.chat_pipeline import turns
from liandan.data.choices import Shots
from liandan.data.conversations import looks_like_conversations, read_conversations
from liandan.data.rows import SUFFIXES
from liandan.models import packing
from liandan.models.sampling import GREEDY, Sampling
from liandan.models.writing import Piece
from liandan.tasks import text_metrics
from liandan.tasks.head import summed_loss
from liandan.tasks.language_model import balance_count, balance_loss, balance_of, next_token, routings_of
from liandan.tasks.task import Batch, Logs, Row, Sums, Task, World
from liandan.tasks.writing import write, writer

_NOTHING = -100  # a target that is given or is padding
_NEW_TOKENS = 128
_ANSWER = 512  # most tokens of an answer that is judged: one that was cut short would be judged for that
_SHOWN = 4  # questions answered at every evaluation


class SFT(Task):
    kind = "chat"
    inputs = ("ids",)
    metrics = ("loss", "perplexity", "bits_per_byte", "token_accuracy")
    best = ("val/loss", "min")
    no_graph = "it writes token by token and remembers what it has read; format hf is the one that keeps this"
    losses: ClassVar = {"next_token": next_token}
    packs = True

    @classmethod
    def recognize(cls, path: Path, has_weights: Callable[[str], bool], model: str | None) -> dict[str, Any] | None:
        if not (path.is_file() and path.suffix.lower() in SUFFIXES and looks_like_conversations(path)):
            return None
        source = read_conversations(path)
        batch_size = max(1, min(16, len(source) // 10))
        steps = max(100, min(2000, round(3 * len(source) / batch_size)))
        every = max(1, steps // 5)
        if model and model.startswith("hf/"):  # it can write already: small changes teach it to answer
            text = {"tokenizer": "auto", "context": 512}
            asked = {"name": model, "weights": "pretrained", "adapter": {"name": "lora", "rank": 8}}
            optimizer = {"name": "adamw", "lr": 3e-4, "weight_decay": 0.0}
        else:
            text = {"tokenizer": "auto", "vocab_size": 4096, "context": 256}  # auto: that of model.weights=run:..., else a new one
            asked = {"name": "liandan/gpt", "n_layer": 4, "n_head": 6, "width": 192}
            optimizer = {"name": "adamw", "lr": 1e-3, "betas": [0.9, 0.95], "weight_decay": 0.1}
        return {
            "data": {"train": str(path), "val": {"hold_out": 0.1}, "text": text},
            "model": asked,
            "optimizer": optimizer,
            "schedule": {"name": "cosine", "min_lr_ratio": 0.1, "warmup": {"steps": max(10, steps // 20)}},
            "train": {"duration": {"steps": steps}, "batch_size": batch_size, "clip_norm": 1.0},
            "evaluate": {"every": {"steps": every}},
            "checkpoint": {"every": {"steps": every}},
        }

    def model_arguments(self) -> dict[str, Any]:
        return {"vocab_size": self.data["vocab_size"], "context": self.data["context"]}

    def prepare(self, model: nn.Module, batch: Batch) -> Batch:
        """Sequences (batch, tokens + 1) -> what the model sees, `ids`, what comes next, `target`, and its `weights`: (batch, tokens)."""
        ids, weights = batch["ids"], batch["weights"][:, 1:]
        target = ids[:, 1:].masked_fill(weights == 0, _NOTHING)
        return {**batch, **balance_of(model), "ids": ids[:, :-1], "target": target, "weights": weights}

    def count(self, batch: Batch) -> dict[str, float]:
        return {"loss": float(batch["weights"].sum()), **balance_count(batch)}

    def loss(self, model: Any, batch: Batch) -> tuple[Sums, Logs]:
        """Of the tokens that weigh something; the head computes at their places alone."""
        ids, target, weights, segments = batch["ids"], batch["target"], batch["weights"], None
        if self.data.get("packing"):
            source, segments = (placed.to(ids.device) for placed in packing.pack(batch["filled"], ids.shape[1], self.data["context"]))
            ids, target, weights = (packing.pick(*of, source) for of in ((ids, 0), (target, _NOTHING), (weights, 0)))
        count = sum(batch["learned"])
        learned = torch.nonzero_static(target.flatten() != _NOTHING, size=count).squeeze(1)  # a size that is known asks no device for it
        routings = routings_of(batch)
        hidden = model.hidden(ids, segments=segments, **routings).flatten(0, 1)[learned]
        total, right = summed_loss(model.logits, model.head_weights, hidden, target.flatten()[learned], weights.flatten()[learned])
        return {"loss": total, **balance_loss(batch, routings)}, {"token_accuracy": (right, count)}

    def forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": model(inputs["ids"])}

    def judge(self, outputs: dict[str, Tensor], batch: Batch) -> list[Row]:
        target, weights = batch["target"], batch["weights"].double()
        nll = next_token(outputs["logits"], target).double()
        right = ((outputs["logits"].argmax(-1) == target) & (target != _NOTHING)).sum(1)
        learned = (target != _NOTHING).sum(1)
        # the mark that ends an answer has no bytes: models that were never taught it could not be compared with the others
        text = nll.masked_fill(torch.isin(target, target.new_tensor(self.data["stops"])), 0.0).sum(1)
        columns = (batch["index"], (nll * weights).sum(1), weights.sum(1), right, learned, text, batch["bytes"])
        names = ("index", "nll", "weight", "right", "tokens", "text_nll", "bytes")
        return [dict(zip(names, row, strict=True)) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def summary(self, rows: list[Row]) -> dict[str, float]:
        loss = math.fsum(r["nll"] for r in rows) / max(math.fsum(r["weight"] for r in rows), 1e-12)
        right, tokens = sum(r["right"] for r in rows), sum(r["tokens"] for r in rows)
        octets = sum(r["bytes"] for r in rows)
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "bits_per_byte": math.fsum(r["text_nll"] for r in rows) / math.log(2) / octets if octets else math.nan,
            "token_accuracy": right / max(tokens, 1),
        }

    def decode(self, outputs: dict[str, Tensor]) -> list[dict[str, Any]]:
        return [{"next": token} for token in outputs["logits"][:, -1].argmax(-1).tolist()]

    def predict(self, model: nn.Module, pipeline: Any, inputs: Sequence[str], world: World) -> list[dict[str, Any]]:
        """Each question and its answer, the most likely token at each place."""
        fast = writer(model, world)
        return [{"prompt": prompt, "text": self.written(fast, pipeline, pipeline.encode(prompt).tolist(), world)} for prompt in inputs]

    def show(self, model: nn.Module, pipeline: Any, samples: Any, seed: int, world: World) -> dict[str, str | bytes]:
        """The same questions of the validation split, each with the expected answer and the model's own."""
        told = [
            f"[{row['name']}] {row['question']}\n  expected: {row['expected']}\n  answered: {row['answer']}"
            for row in self.answered(model, pipeline, samples, world, min(_SHOWN, len(samples)), _NEW_TOKENS)
        ]
        return {".txt": "\n\n".join(told) + "\n"}

    def answers(
        self, model: nn.Module, pipeline: Any, samples: Any, world: World, limit: int, shots: Shots = ()
    ) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """The last question of each conversation, answered by the most likely tokens, with its `scores`; see text_metrics."""
        if limit:
            text_metrics.load()  # what is lacking is told before answers are written, which may take minutes
        rows = list(self.answered(model, pipeline, samples, world, min(limit, len(samples)), _ANSWER, shots))
        scores, found = text_metrics.judge([row["answer"] for row in rows], [row["expected"] for row in rows])
        return [{**row, "scores": score} for row, score in zip(rows, scores, strict=True)], found

    def answered(
        self, model: nn.Module, pipeline: Any, samples: Any, world: World, count: int, limit: int, shots: Shots = ()
    ) -> Iterator[dict[str, str]]:
        """{"name", "question", "expected", "answer"} of the last turn of the first `count` conversations, what came before it given.

        Args:
            limit: tokens of an answer.
            shots: turns before each conversation, behind its system message.
        """
        fast = writer(model, world)
        for i in range(count):
            *given, expected = samples.source.messages(i)
            told = [{"role": m.role, "content": m.content} for m in given]
            behind = int(told[0]["role"] == "system")
            prompt = pipeline.prompt([*told[:behind], *turns(shots), *told[behind:]])
            made = self.written(fast, pipeline, prompt.tolist(), world, limit)
            yield {"name": samples.name(i), "question": given[-1].content, "expected": expected.content, "answer": made}

    def written(self, model: Any, pipeline: Any, prompt: list[int], world: World, limit: int = _NEW_TOKENS) -> str:
        """The most likely text after a prompt's tokens, to the mark that ends it."""
        return "".join(piece.text for piece in self.write(model, pipeline, [prompt], world, limit=limit))

    def write(
        self,
        model: Any,
        pipeline: Any,
        prompts: Sequence[Sequence[int]],
        world: World,
        how: Sampling = GREEDY,
        keys: Sequence[int] = (),
        limit: int = _NEW_TOKENS,
        stops: Sequence[str] = (),
    ) -> Iterator[Piece]:
        """Answers to prompts, in pieces as they are made; see `tasks.writing.write`. A prompt that is too long loses its beginning; an
        answer ends with the room the model has."""
        known = [list(prompt)[1 - model.context :] for prompt in prompts]
        limits = [min(limit, model.context - len(prompt)) for prompt in known]
        return write(model, pipeline.decode, known, limits, world, how, keys, ends=self.data["stops"], stops=stops)

    def example_inputs(self, model: nn.Module) -> dict[str, Tensor]:
        return {"ids": torch.zeros(2, self.data["context"], dtype=torch.int64)}
