"""Texts with a class each -> tokens, a mask and a label."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liandan.data import tokenizer as tokenizers
from liandan.data.errors import DataError, Unreadable
from liandan.data.kept import Ragged, kept
from liandan.data.labeled_text import LabeledText
from liandan.data.protocols import Batch, Sample
from liandan.data.text import read_text
from liandan.data.tokenizer import Tokenizer

_TOGETHER = 1024  # texts encoded at a time
_ENDLESS = 1 << 30  # tokens


class LabeledTextPipeline:
    """From texts to token sequences, the same for training, evaluation and prediction.

    Attributes:
        tokenizer: the model's own, or one trained on the training split.
        context: most tokens of a sequence, special ones included; a longer text is cut there.
    """

    kind = "labeled_text"
    section = "text"  # of the recipe's data: what `fit` makes use of

    def __init__(self, tokenizer: Tokenizer, context: int) -> None:
        if context <= tokenizer.frame:
            raise DataError(f"data.text.context: expected more than the tokenizer's {tokenizer.frame} special tokens, got {context}")
        self.tokenizer, self.context = tokenizer, context

    @classmethod
    def fit(
        cls,
        source: LabeledText,
        *,
        transforms: Mapping[str, Any] | None = None,
        text: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        cache_limit: int = 0,
    ) -> LabeledTextPipeline:
        """The model's tokenizer where it has one, else one trained on `source`.

        Args:
            source: the training split.
            text: {"tokenizer": auto, bpe or characters; "vocab_size": int; "context": int}.
            defaults: of the model, see `models.defaults`: {"tokenizer": JSON, "context": most tokens it can see, or None}.
            transforms, cache_limit: not used.

        Raises:
            DataError: other data than labeled text, an unknown tokenizer, or a context that the model does not have.
        """
        if not isinstance(source, LabeledText):
            raise DataError(f"{source.path}: expected texts with a label each, found {source.format}; another task, or other data")
        asked = {"tokenizer": "auto", "vocab_size": 4096, "context": 128, **(text or {})}
        own, context = defaults or {}, int(asked["context"])
        if own.get("context") and context > own["context"]:
            raise DataError(f"data.text.context: the model sees at most {own['context']} tokens, got {context}")
        return cls(tokenizers.choose(lambda: source.texts, asked, own.get("tokenizer"), source.content()), context)

    def samples(self, source: LabeledText, training: bool) -> LabeledTextSamples:
        """The sequences of a split, encoded once and kept; raises DataError, with its place, for a text that leaves no token."""

        def parts() -> Iterator[dict[str, np.ndarray]]:
            for at in range(0, len(source), _TOGETHER):
                encoded = self.tokenizer.encode_whole(source.texts[at : at + _TOGETHER], self.context)
                length = np.array([len(ids) for ids in encoded], dtype=np.int64)
                yield {"ids": np.concatenate(encoded).astype(self.tokenizer.dtype), "length": length}

        facts = {"texts": source.content(), "tokenizer": self.tokenizer.to_json(), "context": self.context}
        return LabeledTextSamples(source, Ragged(kept(facts, parts)))

    def lengths(self, source: LabeledText) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 (N,) each: the tokens of each text with the special ones, those that the context keeps, and those that are learned from."""
        whole = LabeledTextPipeline(self.tokenizer, _ENDLESS).samples(source, training=False).lengths
        kept = np.minimum(whole, self.context)
        return whole, kept, kept

    def example(self, prompt: str | bytes) -> Sample:
        """{"ids": int64 (T,)} of a text, or of the .txt file of that name; `collate` makes the batch. Bytes are a text in UTF-8, never a
        name: what comes from afar must open no file.

        Raises:
            Unreadable: there is no text in it, or nothing that the tokenizer leaves.
        """
        said = (prompt.decode("utf-8", "replace") if isinstance(prompt, bytes) else _text(prompt)).strip()
        (ids,) = self.tokenizer.encode_whole([said], self.context)
        if not said or not len(ids):
            raise Unreadable("<text>" if isinstance(prompt, bytes) else prompt, "expected a text, there is nothing to read in it")
        return {"ids": torch.from_numpy(ids)}

    def collate(self, samples: list[Sample]) -> Batch:
        """See `collate`."""
        return collate(samples)

    def describe(self) -> dict[str, Any]:
        """What a model must be told: {"vocab_size": n, "context": c}."""
        return {"vocab_size": self.tokenizer.vocab_size, "context": self.context}

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "context": self.context, "tokenizer": self.tokenizer.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], cache_limit: int = 0) -> LabeledTextPipeline:
        """The pipeline `to_json` described."""
        return cls(Tokenizer.from_json(values["tokenizer"]), int(values["context"]))


def _text(prompt: str) -> str:
    if not (prompt.lower().endswith(".txt") and os.path.isfile(prompt)):
        return prompt
    try:
        return "".join(read_text(Path(prompt)).pieces())
    except DataError as error:
        raise Unreadable(prompt, "expected a text, the file is empty") from error


class LabeledTextSamples:
    """Texts as token sequences. Nothing is random, so keys change nothing."""

    resident = True

    def __init__(self, source: LabeledText, encoded: Ragged) -> None:
        empty = np.flatnonzero(encoded.lengths == 0)
        if len(empty):
            i = int(empty[0])
            raise DataError(f"{source.name(i)}: the tokenizer leaves nothing of {source.text(i)!r:.40}; remove it")
        self.source, self._encoded, self.lengths = source, encoded, encoded.lengths

    @property
    def nbytes(self) -> int:
        return self._encoded.nbytes

    def __len__(self) -> int:
        return len(self._encoded)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def sample(self, index: int, key: int | None = None) -> Sample:
        """{"ids": int64 (T,), "label": int}."""
        return {"ids": torch.from_numpy(self._encoded.of("ids", index).astype(np.int64)), "label": self.source.target(index)}

    def collate(self, samples: list[Sample]) -> Batch:
        """See `collate`."""
        return collate(samples)

    def batch(self, indices: np.ndarray, keys: np.ndarray | None = None) -> Batch:
        """See protocols.Samples.batch."""
        return collate([self.sample(int(i)) for i in indices])


def collate(samples: list[Sample]) -> Batch:
    """Token sequences -> a batch.

    Returns:
        ids: int64 (B, T), padded with 0 at the end to the longest.
        mask: bool (B, T), whether a token is the text's.
        label: int64 (B,), where the samples have one.
    """
    length = torch.tensor([len(sample["ids"]) for sample in samples], dtype=torch.int64)
    ids = torch.nn.utils.rnn.pad_sequence([sample["ids"] for sample in samples], batch_first=True)
    batch = {"ids": ids, "mask": torch.arange(ids.shape[1])[None] < length[:, None]}
    if "label" in samples[0]:
        batch["label"] = torch.tensor([sample["label"] for sample in samples], dtype=torch.int64)
    return batch
