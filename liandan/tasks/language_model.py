"""Language modeling: predict the next token of a text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liandan.models import sampling
from liandan.models.sampling import GREEDY, Sampling
from liandan.randomness import mix
from liandan.tasks.task import Batch, Logs, Row, Sums, Task, World

_SHOWN = 4  # samples written at every evaluation
_NEW_TOKENS = 64
_TEMPERATURE = 0.8
_NOTHING = -100  # a target that is padding


def next_token(logits: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of each next token in nats, 0 at padding.

    Args:
        logits: float (batch, tokens, vocabulary).
        target: int64 (batch, tokens), -100 where there is nothing to predict.

    Returns:
        float (batch, tokens), at least float32.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none", ignore_index=_NOTHING).view_as(target)


class LanguageModel(Task):
    kind = "text"
    inputs = ("ids",)
    metrics = ("loss", "perplexity", "bits_per_byte")
    best = ("val/loss", "min")
    no_graph = "it writes token by token and remembers what it has read; format hf is the one that keeps this"
    losses: ClassVar = {"next_token": next_token}

    @classmethod
    def recognize(cls, path: Path, has_weights: Callable[[str], bool], model: str | None) -> dict[str, Any] | None:
        if not (path.is_file() and path.suffix.lower() == ".txt"):
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
                "text": {"tokenizer": "bpe", "vocab_size": vocabulary, "context": context},
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
        return {**batch, "ids": ids[:, :-1], "target": ids[:, 1:].masked_fill(~real, _NOTHING)}

    def count(self, batch: Batch) -> dict[str, float]:
        return {"loss": float(batch["length"].sum())}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Sums, Logs]:
        return {"loss": next_token(model(batch["ids"]), batch["target"]).sum()}, {}

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
        return [
            {"prompt": prompt, "text": self._continue(model, pipeline, pipeline.encode(prompt).tolist(), mix(i, *prompt.encode()), world)}
            for i, prompt in enumerate(inputs)
        ]

    def show(self, model: nn.Module, pipeline: Any, samples: Any, seed: int, world: World) -> dict[str, str | bytes]:
        if pipeline.tokenizer is None:  # there is nothing to write with
            return {}
        start = pipeline.encode("\n").tolist()
        return {".txt": "\n\n".join(self._continue(model, pipeline, start, mix(seed, i), world).strip("\n") for i in range(_SHOWN)) + "\n"}

    def _continue(self, model: Any, pipeline: Any, prompt: list[int], key: int, world: World) -> str:
        prompt = prompt or pipeline.encode("\n").tolist()
        made = self.reply(model, prompt, world, Sampling(_TEMPERATURE), key)
        return pipeline.decode([*prompt, *made])

    def reply(
        self, model: Any, prompt: list[int], world: World, how: Sampling = GREEDY, key: int = 0, limit: int = _NEW_TOKENS
    ) -> Iterator[int]:
        """Token ids after a prompt, as they are made: `limit` of them, for a text has no end.

        Args:
            how: they are chosen; the draws depend on `key` and the position alone.
        """
        moved = world.move({"ids": torch.tensor([prompt], dtype=torch.int64), "key": torch.tensor([key])})
        made = sampling.generate(model.step, moved["ids"], limit, how, moved["key"], context=model.context, new_cache=model.new_cache)
        while True:
            with world.autocast():  # around each token alone: the caller's code runs in between
                token = next(made, None)
            if token is None:
                return
            yield int(token)

    def example_inputs(self, model: nn.Module) -> dict[str, Tensor]:
        return {"ids": torch.zeros(2, self.data["context"], dtype=torch.int64)}
