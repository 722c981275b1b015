"""Images -> samples: decode, the steps of transforms.py, and memory for what need not be done twice."""

from __future__ import annotations

import io
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liandan.data.errors import DataError, Unreadable
from liandan.data.images import decode
from liandan.data.mixing import Mixing
from liandan.data.protocols import Batch, ImageSource, Sample
from liandan.data.transforms import (
    ELEMENTWISE,
    Chain,
    Step,
    TransformError,
    at_least,
    auto_eval,
    auto_train,
    complete,
    divide,
    random_steps,
)

CACHE_LIMIT = 1 << 30  # bytes a split may take when the caller states no other limit
_ONE_SIZE = "end the steps with center_crop, random_crop or a resize to [height, width]"
_LOOKS = 16  # images opened to learn sizes and background
_PROBES = ((300, 400), (400, 300), (97, 61), (640, 640))  # sizes whose images come out alike only if the steps fix the size


class ImagePipeline:
    """From one image to what a model takes, the same for training, evaluation and prediction.

    Attributes:
        channels: 1 or 3, what images are decoded to.
        train, eval: the steps, resolved ("auto" no longer occurs).
        mix: how training samples are mixed after their steps, as in the recipe; None for not at all.
        shape: (channels, height, width) of the evaluated image.
    """

    kind = "images"
    section = "transforms"  # of the recipe's data: what `fit` makes use of

    def __init__(
        self, channels: int, train: list[Step], eval: list[Step], shape: Sequence[int], cache_limit: int = CACHE_LIMIT,
        mix: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.channels, self.train, self.eval, self.cache_limit, self.mix = channels, train, eval, cache_limit, mix
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self._eval_chain: Chain | None = None

    @classmethod
    def fit(
        cls,
        source: ImageSource,
        *,
        transforms: Mapping[str, Any] | None = None,
        text: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        cache_limit: int = CACHE_LIMIT,
    ) -> ImagePipeline:
        """Resolve the steps against the training images and a model's defaults.

        Args:
            source: the training split; up to 16 images are opened.
            transforms: {"train": "auto" or steps, "eval": "auto" or steps, "mix": see mixing.Mixing, or None}.
            text: not used.
            defaults: a model's own preprocessing, each key optional: size (int, [height, width] or [channels, height, width]),
                channels (1, 3 or "auto": 1 if the images have no color), mean, std, crop_pct, interpolation.
            cache_limit: bytes of memory a split may take.

        Raises:
            DataError: no image can be read.
            TransformError: a step is unknown or wrong, or the steps do not end in one size.
        """
        if not hasattr(source, "image"):
            raise DataError(f"{source.path}: expected images, found {source.format}; another task, or other data")
        asked, given = dict(defaults or {}), dict(transforms or {})
        channels = _channels(asked.get("channels"), source)
        looks = _look(source, channels)
        size = _size(asked.get("size"), looks)
        mean, std = _of_channels(asked.get("mean"), channels), _of_channels(asked.get("std"), channels)
        interpolation = str(asked.get("interpolation") or "bilinear")
        crop_pct = float(asked.get("crop_pct") or 0.875)
        steps: dict[str, list[Step]] = {}
        for split in ("train", "eval"):
            listed = given.get(split, "auto")
            if listed != "auto":
                steps[split] = _complete(listed, mean, std, split)
            elif split == "train":
                steps[split] = auto_train(size, mean, std, interpolation, _background(looks))
            else:
                steps[split] = auto_eval(size, mean, std, crop_pct, interpolation)
        noise = random_steps(steps["eval"])
        if noise:
            raise TransformError(
                f"data.transforms.eval: expected no randomness, got {', '.join(noise)}; it belongs in data.transforms.train"
            )
        shapes = {split: _final_shape(steps[split], looks, split) for split in steps}
        if shapes["train"][0] != shapes["eval"][0]:
            raise TransformError(
                f"data.transforms: train ends in {shapes['train'][0]} channels, eval in {shapes['eval'][0]}; make them the same"
            )
        mix = given.get("mix")
        if Mixing.of(mix) and source.targets is None:
            raise TransformError(f"data.transforms.mix: {source.path} has images without classes, whose targets cannot be mixed")
        return cls(channels, steps["train"], steps["eval"], shapes["eval"], cache_limit, mix)

    def samples(self, source: ImageSource, training: bool) -> ImageSamples:
        """The samples of a split; `training` chooses the steps."""
        chain = divide(self.train if training else self.eval)
        return ImageSamples(source, chain, self.channels, self.cache_limit, Mixing.of(self.mix) if training else None)

    def example(self, file: str | Path | bytes | torch.Tensor) -> Sample:
        """{"image": uint8 (C, H, W)} of a file to predict, or of a frame that was decoded already (uint8 (C, H, W), of as many channels as
        the pipeline's), by the steps of evaluation; `collate` makes the batch. Raises Unreadable."""
        chain = self._evaluation()
        image = file if isinstance(file, torch.Tensor) else decode(file, self.channels, at_least(chain.steps))
        return {"image": chain.apply_middle(chain.apply_prefix(image), 0)}

    def collate(self, samples: list[Sample]) -> Batch:
        """Examples -> {"image": float32 (B, C, H, W)}."""
        return _collate(samples, self._evaluation())

    def _evaluation(self) -> Chain:
        if self._eval_chain is None:
            self._eval_chain = divide(self.eval)
        return self._eval_chain

    def describe(self) -> dict[str, Any]:
        """What a model must be told: {"in_chans": 1 or 3, "size": [height, width]}."""
        return {"in_chans": self.shape[0], "size": [self.shape[1], self.shape[2]]}

    def scale(self) -> list[Step]:
        """The steps of evaluation by which pixels become a model's numbers."""
        return [step for step in self.eval if step["name"] in ELEMENTWISE]

    def to_json(self) -> dict[str, Any]:
        steps = {"train": self.train, "eval": self.eval, "mix": self.mix}
        return {"kind": self.kind, "channels": self.channels, **steps, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], cache_limit: int = CACHE_LIMIT) -> ImagePipeline:
        """The pipeline `to_json` described; every step is built once, so a wrong file is found here (TransformError)."""
        steps = list(values["train"]), list(values["eval"])
        pipeline = cls(int(values["channels"]), *steps, values["shape"], cache_limit, values.get("mix"))
        divide(pipeline.train)
        pipeline._evaluation()
        return pipeline


class ImageSamples:
    """A split of images as the loader walks it. See protocols.Samples.

    What the prefix makes of an image is kept when it has one size and the whole split fits: in anonymous memory that forked
    workers share (not in /dev/shm, which containers keep small), filled by whoever needs an image first. All write the same bytes.
    """

    def __init__(self, source: ImageSource, chain: Chain, channels: int, cache_limit: int, mixing: Mixing | None = None) -> None:
        self.source, self.chain, self.channels, self.mixing = source, chain, channels, mixing
        self.at_least = at_least(chain.steps)
        self.several = bool(getattr(source, "multi_label", False))  # an image has any number of classes
        self._images: torch.Tensor | None = None  # uint8 (N, 1 or channels, H, W)
        self._filled: np.ndarray | None = None  # bool (N,)
        self._complete = False
        self._repeat = 1  # grey images that an array source keeps once, for a model that wants three channels
        self._keep(cache_limit)

    def _keep(self, limit: int) -> None:
        whole = getattr(self.source, "resident", None)
        if whole is not None and self.source.size is not None and _is_identity(self.chain, self.channels, self.source.size):
            if len(self) * int(np.prod(self.source.size)) <= limit:
                self._images, self._complete, self._repeat = whole(), True, self.channels
            return
        shape = _fixed_shape(self.chain, self.channels, self.source.size)
        if shape is None or len(self) * int(np.prod(shape)) > limit or len(self) == 0:
            return
        # A private mapping would be copied at a worker's first write; this one is shared through the fork.
        try:
            memory, filled = mmap.mmap(-1, len(self) * int(np.prod(shape))), mmap.mmap(-1, len(self))
        except OSError:  # a limit on this process, which the machine's free memory says nothing about: every visit decodes
            return
        self._images = torch.frombuffer(memory, dtype=torch.uint8).view(len(self), *shape)
        self._filled = np.frombuffer(filled, dtype=np.bool_)

    def __getstate__(self) -> dict[str, Any]:
        # a spawned worker decodes for itself: each would get a copy of the whole split
        return {**self.__dict__, "_images": None, "_filled": None, "_complete": False, "_repeat": 1}

    def __len__(self) -> int:
        return len(self.source)

    @property
    def nbytes(self) -> int:
        """Memory the kept images take when all are there."""
        return 0 if self._images is None else self._images.numel()

    @property
    def resident(self) -> bool:
        """Whether `batch` is one indexing of memory: everything is kept, and no step is random. Then it cannot raise Unreadable."""
        if not self._complete and self._filled is not None:
            self._complete = bool(self._filled.all())
        return self._complete and not self.chain.middle and self.mixing is None

    def name(self, index: int) -> str:
        return self.source.name(index)

    def picture(self, index: int, side: int) -> bytes:
        """The image as a person would see it, as PNG with at most `side` pixels a side; raises Unreadable."""
        from PIL import Image

        image = self.source.image(index, 3, side)
        shown = Image.fromarray(image.permute(1, 2, 0).numpy())
        shown.thumbnail((side, side))
        out = io.BytesIO()
        shown.save(out, format="PNG")
        return out.getvalue()

    def sample(self, index: int, key: int | None) -> Sample:
        """{"image": uint8 (C, H, W) before the tail} and its target: "label" int, or "labels" float32 (classes,) where an image has any
        number of them, or int64 (heads,); mixed with another, where it cannot be a mean, "other" and "share" as well."""
        image, target = self._made(index, key), self._target(index)
        if self.mixing is None or key is None:
            return {"image": image, **target}
        image, partner, share = self.mixing.apply(image, index, int(key), len(self), self._made)
        second = self._target(partner)
        if self.several:
            return {"image": image, "labels": share * target["labels"] + (1 - share) * second["labels"]}
        return {"image": image, **target, "other": second.get("label", second.get("labels")), "share": share}

    def _target(self, index: int) -> Sample:
        target: Any = self.source.target(index)
        if isinstance(target, dict):
            return {"labels": torch.tensor(list(target.values()), dtype=torch.int64)}
        if not isinstance(target, list):
            return {} if target is None else {"label": target}
        present = torch.zeros(len(self.source.labels or ()))
        present[target] = 1.0
        return {"labels": present}

    def _made(self, index: int, key: int | None) -> torch.Tensor:
        """An image after all steps but the tail."""
        image = self._prefixed(index)
        if self.chain.middle:
            if key is None:
                raise ValueError("these steps are random and need a key; evaluate on samples(source, training=False)")
            try:
                image = self.chain.apply_middle(image, int(key))
            except Exception as error:
                steps = ", ".join(random_steps(self.chain.steps))
                raise TransformError(f"{self.name(index)}, {tuple(image.shape)}: {error} (steps: {steps})") from error
        return image

    def _prefixed(self, index: int) -> torch.Tensor:
        """A tensor of the caller's own: a step may work in place."""
        if self._images is not None and (self._filled is None or self._filled[index]):
            return self._images[index].repeat(self._repeat, 1, 1)
        image = self.chain.apply_prefix(self.source.image(index, self.channels, self.at_least))
        if self._images is not None and self._filled is not None:
            self._images[index] = image
            self._filled[index] = True  # after the image, never before
        return image

    def collate(self, samples: list[Sample]) -> Batch:
        """{"image": float32 (B, C, H, W)} with "label" int64 (B,), or with "labels": float32 (B, classes) where an image has any number of
        classes, int64 (B, heads) where it has one of each head. Of mixed samples also "other", the partner's label or labels, and
        "share" float32 (B,), the part of the own in the target."""
        return _collate(samples, self.chain)

    def batch(self, indices: np.ndarray, keys: np.ndarray | None) -> Batch:
        """See protocols.Samples.batch."""
        at = np.asarray(indices, dtype=np.int64)
        if not self.resident or self._images is None:
            noise: Sequence[int | None] = [None] * len(at) if keys is None else [int(key) for key in keys]
            return self.collate([self.sample(int(i), key) for i, key in zip(at, noise, strict=True)])
        images = self._images.index_select(0, torch.from_numpy(at))
        if self._repeat > 1:
            images = images.repeat(1, self._repeat, 1, 1)
        batch = {"image": self.chain.apply_tail(images)}
        if self.several or isinstance(self.source.labels, dict):
            batch["labels"] = torch.stack([self._target(int(i))["labels"] for i in at])
        elif self.source.targets is not None:
            batch["label"] = torch.from_numpy(self.source.targets[at])
        return batch


def _collate(samples: list[Sample], chain: Chain) -> Batch:
    shapes = {tuple(sample["image"].shape) for sample in samples}
    if len(shapes) > 1:
        raise TransformError(f"images of different shapes in one batch, {' and '.join(map(str, sorted(shapes)[:2]))}; {_ONE_SIZE}")
    batch = {"image": chain.apply_tail(torch.stack([sample["image"] for sample in samples]))}
    if "label" in samples[0]:
        batch["label"] = torch.tensor([sample["label"] for sample in samples], dtype=torch.int64)
    if "labels" in samples[0]:
        batch["labels"] = torch.stack([sample["labels"] for sample in samples])
    if "other" in samples[0]:
        batch["other"] = torch.stack([torch.as_tensor(sample["other"], dtype=torch.int64) for sample in samples])
        batch["share"] = torch.tensor([sample["share"] for sample in samples], dtype=torch.float32)
    return batch


def _channels(asked: Any, source: ImageSource) -> int:
    if asked is None:
        return 1 if source.size is not None and source.grey() else 3  # an array says what it is; files vary
    if asked == "auto":
        return 1 if source.grey() else 3
    if asked not in (1, 3):
        raise TransformError(f'expected channels 1, 3 or "auto", got {asked!r}')
    return int(asked)


def _look(source: ImageSource, channels: int) -> list[torch.Tensor]:
    """A few images, spread evenly over the split; the unreadable ones among them are left out."""
    looks, reason = [], "it is empty"
    for i in np.unique(np.linspace(0, len(source) - 1, min(_LOOKS, len(source)), dtype=np.int64)):
        try:
            looks.append(source.image(int(i), channels))
        except Unreadable as error:
            reason = str(error)
    if not looks:
        raise DataError(f"{source.path}: none of the images tried can be read; {reason}; run `liandan data check`")
    return looks


def _size(asked: Any, looks: list[torch.Tensor]) -> tuple[int, int]:
    """(height, width): the model's, else the images' own where they are small or all alike and at most 224, else 224."""
    if asked is not None:
        height, width = (asked, asked) if isinstance(asked, int) else tuple(asked)[-2:]
        if min(int(height), int(width)) < 1:
            raise TransformError(f"expected a size of at least 1 pixel, got {asked}")
        return int(height), int(width)
    sizes = np.array([image.shape[1:] for image in looks])
    height, width = (int(v) for v in np.median(sizes, axis=0))
    alike = bool((sizes == sizes[0]).all())
    return (height, width) if max(height, width) < 64 or (alike and max(height, width) <= 224) else (224, 224)


def _of_channels(values: Any, channels: int) -> list[float]:
    """mean or std, one a channel: a model for color has three, which a grey image averages."""
    listed = [float(v) for v in values] if values is not None else [0.5]
    return listed if len(listed) == channels else [sum(listed) / len(listed)] * channels


def _background(looks: list[torch.Tensor]) -> int:
    """The median of the pixels on the images' borders: white paper, a black field."""
    borders = [torch.cat([i[:, 0].flatten(), i[:, -1].flatten(), i[:, :, 0].flatten(), i[:, :, -1].flatten()]) for i in looks]
    return int(torch.cat(borders).median())


def _complete(listed: Any, mean: list[float], std: list[float], split: str) -> list[Step]:
    if isinstance(listed, (str, Mapping)):
        raise TransformError(f'data.transforms.{split}: expected "auto" or a list of steps, got {listed!r}')
    return complete(listed, mean, std)


def _final_shape(steps: list[Step], looks: list[torch.Tensor], split: str) -> tuple[int, int, int]:
    """(C, H, W) the steps end in, tried on real images; raises TransformError where it is not one shape."""
    try:
        chain = divide(steps)
    except TransformError as error:
        raise TransformError(f"data.transforms.{split}: {error}") from error
    shapes = set()
    for image in looks:
        try:
            made = chain.apply_middle(chain.apply_prefix(image.clone()), 0)
            shapes.add(tuple(chain.apply_tail(made[None])[0].shape))
        except Exception as error:  # torchvision's own, about an image these steps cannot take
            raise TransformError(f"data.transforms.{split}: these steps fail on an image of shape {tuple(image.shape)}: {error}") from error
    if len(shapes) > 1:
        first, second = sorted(shapes)[:2]
        raise TransformError(f"data.transforms.{split}: images come out as {first} and {second}; {_ONE_SIZE}")
    return shapes.pop()  # type: ignore[return-value]


def _fixed_shape(chain: Chain, channels: int, size: tuple[int, int] | None) -> tuple[int, ...] | None:
    """The shape of every prefixed image, None where it depends on the file: found by trying, so no step need be understood."""
    sizes = _PROBES if size is None else (size,)
    shapes = {tuple(chain.apply_prefix(torch.zeros(channels, *s, dtype=torch.uint8)).shape) for s in sizes}
    return shapes.pop() if len(shapes) == 1 else None


def _is_identity(chain: Chain, channels: int, size: tuple[int, int]) -> bool:
    """Whether the prefix leaves images of this size alone (a resize to the size they have)."""
    image = torch.arange(channels * size[0] * size[1]).remainder(251).to(torch.uint8).view(channels, *size)
    made = chain.apply_prefix(image.clone())
    return made.shape == image.shape and torch.equal(made, image)
