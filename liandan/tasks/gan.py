"""Generative adversarial network: a generator and a critic take turns."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from liandan.randomness import mix, normal
from liandan.tasks.metrics import sliced_wasserstein
from liandan.tasks.task import Batch, Logs, Row, Sums, Task, Turn, World

_SHOWN = 64  # images in the grid written at every evaluation
_DIRECTIONS = 64  # random projections of the sliced Wasserstein distance
_SMOOTHING = 0.99  # of the running balance of the two players
_CRITIC, _GENERATOR, _DIRECTION, _SHOW = 1, 2, 3, 4  # salts: no two draws share a stream


def logistic(logits: Tensor, real: bool) -> Tensor:
    """Sum of the non-saturating logistic loss (Goodfellow et al. 2014, section 3) that calls `logits` (batch,) real or not."""
    return F.softplus(-logits if real else logits).sum()


class Gan(Task):
    """Two turns a step: the critic learns to tell photographs from drawings, then the generator learns to be taken for one.

    The model has `generator` (noise -> images), `critic` (images -> logits) and `latent`, the length of the noise: liandan/dcgan does.
    """

    kind = "images"
    inputs = ("noise",)
    metrics = ("sliced_wasserstein",)
    best = ("val/sliced_wasserstein", "min")
    no_graph = "it draws its own noise, of a length that the model tells"
    losses: ClassVar = {"logistic": logistic}

    def __init__(self, loss: Any, labels: Any, data: Any) -> None:
        super().__init__(loss, labels, data)
        self.balance = 0.5  # running mean of the critic's accuracy: 1 means the generator has lost

    def model_arguments(self) -> dict[str, Any]:
        return {"in_chans": self.data["in_chans"], "size": self.data["size"][0]}

    def prepare(self, model: Any, batch: Batch) -> Batch:
        """All noise of both turns, from the samples' keys: float32 (batch, latent)."""
        like, latent = batch["image"], model.latent
        noise = {name: normal(batch["key"], (latent,), salt, like.dtype) for name, salt in (("critic", _CRITIC), ("generator", _GENERATOR))}
        return {**batch, **noise, "noise": noise["generator"]}

    def turns(self, model: Any, batches: list[Batch], world: World) -> Iterator[Turn]:
        critic = Turn([{**b, "turn": "critic"} for b in batches], learns="critic")
        yield critic
        if not critic.skipped:
            self.balance += (1 - _SMOOTHING) * (critic.logs["critic_accuracy"] - self.balance)
        yield Turn([{**b, "turn": "generator"} for b in batches], learns="generator")

    def count(self, batch: Batch) -> dict[str, float]:
        return {f"{batch['turn']}_loss": len(batch["index"])}

    def loss(self, model: Any, batch: Batch) -> tuple[Sums, Logs]:
        drawn = model.generator(batch[batch["turn"]])
        if batch["turn"] == "generator":
            return {"generator_loss": logistic(_wide(model.critic(drawn)), real=True)}, {}
        real, fake = _wide(model.critic(batch["image"])), _wide(model.critic(drawn.detach()))
        right = (real.detach() > 0).sum() + (fake.detach() < 0).sum()
        total = logistic(real, real=True) + logistic(fake, real=False)
        return {"critic_loss": total}, {"critic_accuracy": (right, 2.0 * len(real))}

    def forward(self, model: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"image": model(inputs["noise"])}

    def judge(self, outputs: dict[str, Tensor], batch: Batch) -> list[Row]:
        """Projections of each held-out image and of one generated image on the same unit directions."""
        real, fake = (x.double().flatten(1).cpu() for x in (batch["image"], outputs["image"]))
        seeds = torch.arange(_DIRECTIONS, dtype=torch.int64) + mix(_DIRECTION) % 2**31
        directions = F.normalize(normal(seeds, (real.shape[1],), dtype=torch.float64), dim=1).T
        columns = zip(batch["index"].tolist(), (real @ directions).tolist(), (fake @ directions).tolist(), strict=True)
        return [{"index": i, "real": r, "fake": f} for i, r, f in columns]

    def summary(self, rows: list[Row]) -> dict[str, float]:
        real, fake = (np.array([r[name] for r in rows]) for name in ("real", "fake"))
        return {"sliced_wasserstein": sliced_wasserstein(real, fake)}

    def decode(self, outputs: dict[str, Tensor]) -> list[dict[str, Any]]:
        pixels = ((outputs["image"].float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return [{"image": image.tolist()} for image in pixels.cpu()]

    def predict(self, model: Any, pipeline: Any, inputs: Sequence[str], world: World) -> list[dict[str, Any]]:
        """One generated image for each input, which is taken for a seed: any text. uint8 (channels, height, width) as lists."""
        keys = torch.tensor([mix(*text.encode()) for text in inputs])
        return [{"seed": s, **p} for s, p in zip(inputs, self.decode(self._draw(model, keys, world)), strict=True)]

    def show(self, model: Any, pipeline: Any, samples: Any, seed: int, world: World) -> dict[str, str | bytes]:
        from torchvision.transforms.functional import to_pil_image
        from torchvision.utils import make_grid

        images = self._draw(model, torch.tensor([mix(seed, i) for i in range(_SHOWN)]), world)["image"].float().cpu()
        out = io.BytesIO()
        to_pil_image(make_grid((images.clamp(-1, 1) + 1) / 2, nrow=8)).save(out, format="PNG")
        return {".png": out.getvalue()}

    def _draw(self, model: Any, keys: Tensor, world: World) -> dict[str, Tensor]:
        like = next(model.parameters())
        noise = world.move({"noise": normal(keys, (model.latent,), _SHOW, like.dtype)})
        with torch.no_grad(), world.autocast():
            return self.forward(model, noise)

    def example_inputs(self, model: Any) -> dict[str, Tensor]:
        return {"noise": torch.zeros(2, model.latent)}

    def state_dict(self) -> dict[str, Any]:
        return {"balance": self.balance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.balance = state["balance"]


def _wide(logits: Tensor) -> Tensor:
    """At least float32: softplus in bfloat16 loses what the two players are fighting about."""
    return logits if logits.dtype == torch.float64 else logits.float()
