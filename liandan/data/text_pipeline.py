"""Text -> tokens, once -> windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from liandan.data import tokenizer as tokenizers
from liandan.data import tokens
from liandan.data.errors import DataError
from liandan.data.kept import kept
from liandan.data.protocols import Batch, Sample
from liandan.data.text import TextSource
from liandan.data.tokenizer import Tokenizer
from liandan.data.tokens import TokenSource, WindowSamples


class TextPipeline:
    """From text to token windows, the same for training, evaluation and prediction.

    Attributes:
        tokenizer: None for tokens from elsewhere: then there are windows and no text.
        context: tokens a model sees at once.
    """

    kind = "text"
    section = "text"  # of the recipe's data: what `fit` makes use of

    def __init__(self, tokenizer: Tokenizer | None, vocab_size: int, context: int) -> None:
        if context < 1:
            raise DataError(f"data.text.context: expected at least 1 token, got {context}")
        self.tokenizer, self.vocab_size, self.context = tokenizer, vocab_size, context

    @classmethod
    def fit(
        cls,
        source: TextSource | TokenSource,
        *,
        transforms: Mapping[str, Any] | None = None,
        text: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        cache_limit: int = 0,
    ) -> TextPipeline:
        """Train the tokenizer on `source`, the training split, and on nothing else.

        Args:
            source: text, or tokens made elsewhere (whose ids are taken as they are).
            text: {"tokenizer": "auto", "bpe" or "characters", "vocab_size": int, "context": int}.
            defaults: {"tokenizer": JSON} of a model that has one, which "auto" takes.
            transforms, cache_limit: not used.

        Raises:
            DataError: an unknown tokenizer, a vocabulary below 256, a context below 1.
        """
        if not isinstance(source, TextSource | TokenSource):
            raise DataError(f"{source.path}: expected text, found {source.format}; another task, or other data")
        asked = {"tokenizer": "auto", "vocab_size": 4096, "context": 128, **(text or {})}
        context = int(asked["context"])
        if isinstance(source, TokenSource):
            return cls(None, source.vocab_size, context)
        known = tokenizers.choose(source.pieces, asked, (defaults or {}).get("tokenizer"), source.content())
        return cls(known, known.vocab_size, context)

    def samples(self, source: TextSource | TokenSource, training: bool) -> WindowSamples:
        """The windows of a split. Text is encoded once and kept under the user's cache folder; raises DataError below 2 tokens."""
        if isinstance(source, TokenSource):
            array, start, stop = source.tokens, source.start, source.stop
            if source.vocab_size > self.vocab_size:
                raise DataError(f"{source.path}: ids up to {source.vocab_size - 1}, expected below {self.vocab_size}, the training data's")
        else:
            array = self._encoded(source)
            start, stop = 0, len(array)
        if stop - start < 2:
            raise DataError(f"{source.path}: expected at least 2 tokens, to predict one from the other, got {stop - start}")
        return WindowSamples(array, start, stop, self.context, self._byte_lengths(), f"{source.path.name} tokens")

    def _encoded(self, source: TextSource) -> np.ndarray:
        known = self._known()

        def parts() -> Iterator[dict[str, np.ndarray]]:
            yield {"ids": np.zeros(0, dtype=known.dtype)}
            yield from ({"ids": ids} for ids in known.encode_pieces(source.pieces()))

        return kept({"text": source.content(), "tokenizer": known.to_json()}, parts)["ids"]

    def _known(self) -> Tokenizer:
        if self.tokenizer is None:
            raise DataError("these tokens came without a tokenizer: text can be neither encoded nor decoded; train from the text itself")
        return self.tokenizer

    def _byte_lengths(self) -> np.ndarray | None:
        return None if self.tokenizer is None else self.tokenizer.byte_lengths

    def encode(self, text: str) -> np.ndarray:
        """str -> int64 (T,)."""
        return self._known().encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        return self._known().decode(ids)

    def example(self, prompt: str) -> Sample:
        """{"ids": int64 (T,)} of a prompt; `collate` makes the batch."""
        return {"ids": torch.from_numpy(self.encode(prompt))}

    def collate(self, samples: list[Sample]) -> Batch:
        """See tokens.collate."""
        return tokens.collate(samples, self._byte_lengths())

    def describe(self) -> dict[str, Any]:
        """What a model must be told: {"vocab_size": n, "context": c}."""
        return {"vocab_size": self.vocab_size, "context": self.context}

    def transformers_files(self) -> dict[str, Any]:
        """{file name: JSON} that transformers reads besides the model's own; nothing without a tokenizer."""
        return {} if self.tokenizer is None else self.tokenizer.transformers_files(self.context, {})

    def to_json(self) -> dict[str, Any]:
        tokenizer = None if self.tokenizer is None else self.tokenizer.to_json()
        return {"kind": self.kind, "vocab_size": self.vocab_size, "context": self.context, "tokenizer": tokenizer}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], cache_limit: int = 0) -> TextPipeline:
        """The pipeline `to_json` described."""
        tokenizer = None if values["tokenizer"] is None else Tokenizer.from_json(values["tokenizer"])
        return cls(tokenizer, int(values["vocab_size"]), int(values["context"]))
