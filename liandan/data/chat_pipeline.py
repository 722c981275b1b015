"""Conversations -> tokens with a weight each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from liandan.data import tokenizer as tokenizers
from liandan.data.conversations import ConversationSource, Message
from liandan.data.errors import DataError, suggest
from liandan.data.kept import Ragged, kept
from liandan.data.protocols import Batch, Sample
from liandan.data.template import TEMPLATES, Template
from liandan.data.tokenizer import Tokenizer


class ChatPipeline:
    """From conversations to token sequences, the same for training, evaluation, chat and server.

    Attributes:
        tokenizer: the model's own, or one trained on the training split.
        template: how messages are written for the model.
        context: most tokens of a sequence; a longer conversation is cut there.
    """

    kind = "chat"
    section = "text"  # of the recipe's data: what `fit` makes use of

    def __init__(self, tokenizer: Tokenizer, template: Template, context: int) -> None:
        self.tokenizer, self.template, self.context = tokenizer, template, context

    @classmethod
    def fit(
        cls,
        source: ConversationSource,
        *,
        transforms: Mapping[str, Any] | None = None,
        text: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        cache_limit: int = 0,
    ) -> ChatPipeline:
        """The model's tokenizer and chat template where it has them, else a tokenizer trained on `source`, and ChatML.

        Args:
            source: the training split.
            text: {"tokenizer": auto, bpe or characters; "vocab_size": int; "context": int; "template": auto, a name of TEMPLATES}.
            defaults: of the model, see `models.defaults`: {"tokenizer": JSON, "chat_template": Jinja or None, "special_tokens": {name:
                text}, "stops": [texts]}.
            transforms, cache_limit: not used.

        Raises:
            DataError: data that is no conversations, an unknown template, or a template that does not suit them.
        """
        if not isinstance(source, ConversationSource):
            raise DataError(f"{source.path}: expected conversations, found {source.format}; another task, or other data")
        asked = {"tokenizer": "auto", "vocab_size": 4096, "context": 128, "template": "auto", **(text or {})}
        own = defaults or {}
        special = dict(own.get("special_tokens") or {})

        def pieces() -> Iterator[str]:
            return (f"{m.content}\n" for i in range(len(source)) for m in source.messages(i))

        tokenizer = tokenizers.choose(pieces, asked, own.get("tokenizer"), source.content())
        if asked["template"] == "auto":
            jinja = own.get("chat_template") or TEMPLATES["chatml"]
        elif asked["template"] in TEMPLATES:
            jinja = TEMPLATES[asked["template"]]
        else:
            raise DataError(f'data.text.template: no template "{asked["template"]}"; {suggest(asked["template"], ["auto", *TEMPLATES])}')
        stops = tokenizer.ids([*own.get("stops", ()), *tokenizers.RESERVED[1:], *(special.get(k, "") for k in ("eos_token",))])
        if not stops:
            raise DataError("the tokenizer has no token that ends an answer; choose data.text.tokenizer=bpe, which brings one")
        return cls(tokenizer, Template(jinja, tokenizer, special, stops), int(asked["context"]))

    def samples(self, source: ConversationSource, training: bool) -> ChatSamples:
        """The sequences of a split; raises DataError, with its row, for a conversation that the template does not take."""
        return ChatSamples(source, self.template, self.context)

    def lengths(self, source: ConversationSource) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 (N,) each: the tokens of each conversation, those that the context keeps, and those of them that are learned."""
        samples = self.samples(source, training=False)
        learned = [int((samples.sample(i)["weights"][1:] > 0).sum()) for i in range(len(samples))]
        return samples.lengths, np.minimum(samples.lengths, self.context + 1), np.array(learned, dtype=np.int64)

    def encode(self, text: str) -> np.ndarray:
        """A user's message -> int64 (T,), as far as the opening of the answer."""
        return self.prompt([{"role": "user", "content": text}])

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> np.ndarray:
        """Messages {"role", "content"}, the user's last -> int64 (T,), to be continued: token for token what training gave before an
        answer."""
        return self.template.encode([Message(m["role"], m["content"]) for m in messages]).ids

    def decode(self, ids: Iterable[int]) -> str:
        return self.tokenizer.decode(ids)

    def example(self, prompt: str) -> Sample:
        """{"ids", "weights"} of a user's message; `collate` makes the batch."""
        ids = self.encode(prompt)
        return {"ids": torch.from_numpy(ids), "weights": torch.ones(len(ids))}

    def collate(self, samples: list[Sample]) -> Batch:
        """See `collate`."""
        return collate(samples)

    def describe(self) -> dict[str, Any]:
        """What a model must be told: {"vocab_size": n, "context": c}; and the ids that end an answer, {"stops": [...]}."""
        return {"vocab_size": self.tokenizer.vocab_size, "context": self.context, "stops": list(self.template.stops)}

    def transformers_files(self) -> dict[str, Any]:
        """{file name: JSON} that transformers reads besides the model's own: tokenizer, template, the tokens that end an answer."""
        ends = self.template.stops
        special = {"eos_token": self.decode(ends[:1]), **self.template.special}
        files = self.tokenizer.transformers_files(self.context, special, self.template.jinja)
        return {**files, "generation_config.json": {"eos_token_id": list(ends)}}

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "context": self.context, **self.template.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], cache_limit: int = 0) -> ChatPipeline:
        """The pipeline `to_json` described."""
        tokenizer, kept = Tokenizer.from_json(values["tokenizer"]), values["template"]
        template = Template(kept["jinja"], tokenizer, kept["special_tokens"], kept["stops"])
        return cls(tokenizer, template, int(values["context"]))


class ChatSamples:
    """Conversations as token sequences, encoded once and kept.

    Attributes:
        lengths: int64 (N,), tokens of each conversation, uncut.
        cut: how many conversations are longer than the context, of which the rest is left out.
    """

    resident = True

    def __init__(self, source: ConversationSource, template: Template, context: int) -> None:
        self.source, self.context = source, context
        self._encoded = Ragged(kept({"conversations": source.content(), "template": template.to_json()}, lambda: encoded(source, template)))
        self.lengths = self._encoded.lengths
        self.cut = int((self.lengths > context + 1).sum())

    @property
    def nbytes(self) -> int:
        return self._encoded.nbytes

    def __len__(self) -> int:
        return len(self._encoded)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def sample(self, index: int, key: int | None = None) -> Sample:
        """{"ids": int64 (T,), "weights": float32 (T,)}, at most context + 1 tokens."""
        ids, weights = (self._encoded.of(name, index)[: self.context + 1] for name in ("ids", "weights"))
        return {"ids": torch.from_numpy(ids.astype(np.int64)), "weights": torch.from_numpy(np.array(weights))}

    def collate(self, samples: list[Sample]) -> Batch:
        """See `collate`."""
        return collate(samples)

    def batch(self, indices: np.ndarray, keys: np.ndarray | None = None) -> Batch:
        """See protocols.Samples.batch."""
        return collate([self.sample(int(i)) for i in indices])


def encoded(source: ConversationSource, template: Template) -> Iterator[dict[str, np.ndarray]]:
    """The tokens of each conversation, whole; raises DataError, with its row, for one that the template does not take."""
    for i in range(len(source)):
        try:
            one = template.encode(source.messages(i))
        except DataError as error:
            raise DataError(f"{source.name(i)}: {error}") from error
        yield {"ids": one.ids.astype(template.tokenizer.dtype), "weights": one.weights, "length": np.array([len(one.ids)])}


def collate(samples: list[Sample]) -> Batch:
    """Token sequences -> a batch.

    Returns:
        ids: int64 (B, T), padded with 0 at the end to the longest.
        weights: float32 (B, T), padded with 0.
        length: int64 (B,), tokens of each.
    """
    length = torch.tensor([len(sample["ids"]) for sample in samples], dtype=torch.int64)
    ids = torch.nn.utils.rnn.pad_sequence([sample["ids"] for sample in samples], batch_first=True)
    weights = torch.nn.utils.rnn.pad_sequence([sample["weights"] for sample in samples], batch_first=True)
    return {"ids": ids, "weights": weights, "length": length}
