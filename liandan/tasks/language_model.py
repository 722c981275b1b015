"""Language modeling: predict the next token of a text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liandan.data.readers import detect_format
from liandan.data.rows import SUFFIXES
from liandan.models import experts
from liandan.models.sampling import GREEDY, Sampling
from liandan.models.writing import Piece
from liandan.randomness import mix
from liandan.tasks.task import Batch, Logs, Row, Sums, Task, World
from liandan.tasks.writing import write, writer

_SHOWN = 4  # samples written at every evaluation
_NEW_TOKENS = 64
_TEMPERATURE = 0.8
_NOTHING = -100  # a target that is padding


def next_token(logits: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of each next token in nats, 0 at padding.

    Args:
        logits: float (..., vocabulary).
        target: int64 (...), -100 where there is nothing to predict.

    Returns:
        float (...), at least float32.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none", ignore_index=_NOTHING).view_as(target)


def balance_of(model: nn.Module) -> dict[str, float]:
    """What `prepare` puts into a batch for a model with experts, for `count` and `balance_loss`: the weight of its balance loss."""
    weight = float(getattr(model, "balance", 0.0))
    return {"balance": weight} if weight else {}


def balance_count(batch: Batch) -> dict[str, float]:
    """{"balance": sequences} where there is a balance loss, to stand beside the count of tokens."""
    return {"balance": float(len(batch["index"]))} if "balance" in batch else {}


def routings_of(batch: Batch) -> dict[str, list[experts.Routing]]:
    """What the model is called with so that its routers tell `balance_loss` what they did; nothing where there is no balance loss."""
    return {"routings": []} if "balance" in batch else {}


def balance_loss(batch: Batch, told: dict[str, list[experts.Routing]]) -> Sums:
    """{"balance": a sum over sequences} where there is a balance loss.

    Args:
        told: `routings_of(batch)`, after the model was called with it.
    """
    if not told:
        return {}
    real = torch.arange(batch["ids"].shape[1], device=batch["ids"].device)[None] < batch["length"][:, None]  # false at padding
    return {"balance": batch["balance"] * experts.balance(told["routings"], real).sum()}


class LanguageModel(Task):
    kind = "text"
    inputs = ("ids",)
    metrics = ("loss", "perplexity", "bits_per_byte")
    best = ("val/loss", "min")
    no_graph = "it writes token by token and remembers what it has read; format hf is the one that keeps this"
    losses: ClassVar = {"next_token": next_token}

    @classmethod
    def recognize(cls, path: Path, has_weights: Callable[[str], bool], model: str | None) -> dict[str, Any] | None:
        rows = path.suffix.lower() in SUFFIXES and detect_format(path) == "text"
        if not (path.is_file() and (rows or path.suffix.lower() == ".txt")):
            return None
        # a token is about three bytes of Chinese or four of English; context and vocabulary grow with the text
        size = path.stat().st_size
        large = size > 1_000_000
        width, layers, vocabulary, context = (192, 4, 4096, 128) if large else (128, 4, 1024, 64)
        batch_size = 32
        steps = max(300, min(1200, round(8 * size / 3.0 / (batch_size * context))))
        return {
            "data": {
                "train": str(path),
                "val": {"hold_out": 0.1},
                "text": {"tokenizer": "auto", "vocab_size": vocabulary, "context": context},
            },
            "model": {"name": "liandan/gpt", "n_layer": layers, "n_head": width // 32, "width": width},
            "optimizer": {"name": "adamw", "lr": 2e-3, "betas": [0.9, 0.95], "weight_decay": 0.1},
            "schedule": {"name": "cosine", "min_lr_ratio": 0.1, "warmup": {"steps": max(20, steps // 20)}},
            "train": {"duration": {"steps": steps}, "batch_size": batch_size, "clip_norm": 1.0},
            "evaluate": {"every": {"steps": max(1, steps // 5)}},
            "checkpoint": {"every": {"steps": max(1, steps // 10)}},
        }

    def model_arguments(self) -> dict[str, Any]:
        return {"vocab_size": self.data["vocab_size"], "context": self.data["context"]}

    def prepare(self, model: nn.Module, batch: Batch) -> Batch:
        """Windows of tokens (batch, tokens + 1) -> what the model sees, `ids`, and what comes next, `target`, both (batch, tokens)."""
        ids = batch["ids"]
        real = torch.arange(ids.shape[1] - 1, device=ids.device)[None] < batch["length"][:, None]
        return {**batch, **balance_of(model), "ids": ids[:, :-1], "target": ids[:, 1:].masked_fill(~real, _NOTHING)}

    def count(self, batch: Batch) -> dict[str, float]:
        return {"loss": float(batch["length"].sum()), **balance_count(batch)}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Sums, Logs]:
        routings = routings_of(batch)
        loss = next_token(model(batch["ids"], **routings), batch["target"]).sum()
        return {"loss": loss, **balance_loss(batch, routings)}, {}

    def forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": model(inputs["ids"])}

    def judge(self, outputs: dict[str, Tensor], batch: Batch) -> list[Row]:
        total = next_token(outputs["logits"], batch["target"]).double().sum(1).tolist()
        columns = zip(batch["index"].tolist(), total, batch["length"].tolist(), batch["bytes"].tolist(), strict=True)
        return [{"index": i, "nll": float(n), "tokens": t, "bytes": b} for i, n, t, b in columns]

    def summary(self, rows: list[Row]) -> dict[str, float]:
        nll, tokens = math.fsum(r["nll"] for r in rows), sum(r["tokens"] for r in rows)
        octets = sum(r["bytes"] for r in rows)
        loss = nll / tokens
        bits = nll / math.log(2) / octets if octets else math.nan  # tokens without a tokenizer: nobody knows their length
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "bits_per_byte": bits}

    def decode(self, outputs: dict[str, Tensor]) -> list[dict[str, Any]]:
        return [{"next": token} for token in outputs["logits"][:, -1].argmax(-1).tolist()]

    def predict(self, model: nn.Module, pipeline: Any, inputs: Sequence[str], world: World) -> list[dict[str, Any]]:
        """Each prompt and its continuation, at a temperature of 0.8; prompt i's draws depend on i and its text alone."""
        keys = [mix(i, *prompt.encode()) for i, prompt in enumerate(inputs)]
        written = self._continued(model, pipeline, [pipeline.encode(prompt).tolist() for prompt in inputs], keys, world)
        return [{"prompt": prompt, "text": prompt + text} for prompt, text in zip(inputs, written, strict=True)]

    def show(self, model: nn.Module, pipeline: Any, samples: Any, seed: int, world: World) -> dict[str, str | bytes]:
        if pipeline.tokenizer is None:  # there is nothing to write with
            return {}
        written = self._continued(model, pipeline, [[]] * _SHOWN, [mix(seed, i) for i in range(_SHOWN)], world)
        return {".txt": "\n\n".join(text.strip("\n") for text in written) + "\n"}

    def _continued(self, model: Any, pipeline: Any, prompts: list[list[int]], keys: list[int], world: World) -> list[str]:
        texts = [""] * len(prompts)
        for piece in self.write(writer(model, world), pipeline, prompts, world, Sampling(_TEMPERATURE), keys):
            texts[piece.sequence] += piece.text
        return texts

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
        """Continuations of prompts, in pieces as they are made; see `tasks.writing.write`. An empty prompt begins a line."""
        begun = [prompt or pipeline.encode("\n").tolist() for prompt in prompts]
        return write(model, pipeline.decode, begun, [limit] * len(begun), world, how, keys, stops=stops, goes_on=True)

    def example_inputs(self, model: nn.Module) -> dict[str, Tensor]:
        return {"ids": torch.zeros(2, self.data["context"], dtype=torch.int64)}
