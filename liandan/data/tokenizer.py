"""Text to token ids and back, without loss on any text: trained on the training split alone, kept as JSON.

bpe          byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): ids 0..255 are the bytes
characters   a token for every character of the training text; any other character is its UTF-8 bytes, ids 0..255
model        one that came with a model, taken as it is

The first two end with the RESERVED tokens, which no text is made of: a model that learns to write can later learn to answer.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from liandan.data.errors import DataError, suggest
from liandan.data.kept import kept

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

KINDS = ("bpe", "characters", "model")
RESERVED = ("<|im_start|>", "<|im_end|>")  # ChatML's: where a message begins, where it ends
_BYTES = 256
_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")  # a byte, where characters have tokens
_LEARNED = 1 << 22  # characters that pairs are learned from
_TOGETHER = 32  # pieces encoded at a time: bounds the memory of what the library keeps beside the ids


class Tokenizer:
    """A trained tokenizer.

    Attributes:
        kind: "bpe", "characters" or "model".
        byte_lengths: int64 (vocab_size,), UTF-8 bytes each token stands for; they add up exactly over any encoded text.
    """

    def __init__(self, kind: str, engine: Engine) -> None:
        engine.no_padding()  # a model's file may ask for either: a batch pads, and whoever encodes says how much
        engine.no_truncation()
        self.kind, self._engine = kind, engine
        self.byte_lengths = _byte_lengths(kind, engine)

    @property
    def vocab_size(self) -> int:
        return len(self.byte_lengths)

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest type that holds every id."""
        return np.uint16 if self.vocab_size <= 1 << 16 else np.uint32

    def encode(self, text: str) -> np.ndarray:
        """str -> int64 (T,)."""
        return np.array(self._engine.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def encode_pieces(self, pieces: Iterable[str]) -> Iterator[np.ndarray]:
        """Long texts, many pieces at a time on all cores: the same ids as `encode` of each piece, of `dtype`."""
        waiting = iter(pieces)
        while several := list(itertools.islice(waiting, _TOGETHER)):
            with _threads():
                encoded = self._engine.encode_batch(several, add_special_tokens=False)
            yield from (np.array(one.ids, dtype=self.dtype) for one in encoded)

    @property
    def frame(self) -> int:
        """How many special tokens `encode_whole` adds: 2 for BERT's [CLS] and [SEP]."""
        return self._engine.num_special_tokens_to_add(False)

    def encode_whole(self, texts: Iterable[str], limit: int) -> list[np.ndarray]:
        """Texts as a model that reads each as a whole expects them: within the tokenizer's special tokens, cut to `limit` tokens with them.

        Returns:
            int64 (T,) for each; `limit` is above `frame`.
        """
        self._engine.enable_truncation(limit)
        try:
            with _threads():
                encoded = self._engine.encode_batch(list(texts), add_special_tokens=True)
        finally:
            self._engine.no_truncation()
        return [np.array(one.ids, dtype=np.int64) for one in encoded]

    def decode(self, ids: Iterable[int]) -> str:
        """Ids -> str; bytes that do not make a character come out as U+FFFD."""
        return self._engine.decode([int(i) for i in ids], skip_special_tokens=False)

    def ids(self, tokens: Iterable[str]) -> list[int]:
        """The ids of those of `tokens` that are in the vocabulary, sorted."""
        found = (self._engine.token_to_id(token) for token in tokens if token)
        return sorted({i for i in found if i is not None})

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokenizer": json.loads(self._engine.to_str())}

    def transformers_files(self, context: int, special: Mapping[str, str], chat_template: str | None = None) -> dict[str, Any]:
        """{file name: JSON} from which transformers' AutoTokenizer makes the same tokenizer.

        Args:
            context: most tokens the model sees.
            special: names such as eos_token -> the tokens' text.
            chat_template: Jinja.
        """
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",  # tokenizer.json as it is: a model's own class may rebuild it otherwise
            "model_max_length": context,
            "clean_up_tokenization_spaces": False,
            **special,
            **({} if chat_template is None else {"chat_template": chat_template}),
        }
        return {"tokenizer.json": self.to_json()["tokenizer"], "tokenizer_config.json": config}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Tokenizer:
        from tokenizers import Tokenizer as Engine

        _check_kind(values["kind"])
        return cls(values["kind"], Engine.from_str(json.dumps(values["tokenizer"])))


def choose(pieces: Callable[[], Iterable[str]], text: Mapping[str, Any], own: Mapping[str, Any] | None, facts: Any) -> Tokenizer:
    """The model's own tokenizer where it has one and the recipe says auto, else one trained on `pieces`, the training text, and kept for
    the next run.

    Args:
        text: {"tokenizer": auto, bpe or characters; "vocab_size": int}; auto without a model's own is bpe.
        own: what `to_json` gave, or None.
        facts: JSON-able: all that the pieces depend on.

    Raises:
        DataError: see `train`.
    """
    if text["tokenizer"] == "auto" and own:
        return Tokenizer.from_json(own)
    kind, vocab_size = "bpe" if text["tokenizer"] == "auto" else str(text["tokenizer"]), int(text["vocab_size"])

    def made() -> Iterator[dict[str, np.ndarray]]:
        yield {"json": np.frombuffer(json.dumps(train(pieces(), kind, vocab_size).to_json()).encode(), dtype=np.uint8)}

    found = kept({"pieces": facts, "tokenizer": kind, "vocab_size": vocab_size}, made)
    return Tokenizer.from_json(json.loads(found["json"].tobytes()))


def train(pieces: Iterable[str], kind: str = "bpe", vocab_size: int = 4096) -> Tokenizer:
    """Train a tokenizer; the same text gives the same tokenizer.

    Args:
        pieces: the training text. Pairs are learned from at most some 4 million characters, spread over it: their counts are as good, and
            every run of letters between spaces takes memory, which in Chinese is every clause.
        kind: see the head of this file.
        vocab_size: of "bpe", at least 256; a small text may not have that many pairs and gets fewer. "characters" has as many as
            the text has characters, and 256.

    Raises:
        DataError: an unknown kind or too small a vocabulary.
    """
    least = _BYTES + len(RESERVED)
    _check_kind(kind, KINDS[:2])
    if kind == "bpe" and vocab_size < least:
        raise DataError(f"data.text.vocab_size: expected at least {least}: the bytes and {len(RESERVED)} reserved tokens, got {vocab_size}")
    engine = _characters(pieces) if kind == "characters" else _bpe(spread(pieces, _LEARNED), vocab_size - len(RESERVED))
    engine.add_special_tokens(list(RESERVED))
    return Tokenizer(kind, engine)


def spread(pieces: Iterable[str], most: int) -> list[str]:
    """Every k-th piece, k the smallest power of two with which they have at most `most` characters (or are one)."""
    kept: list[str] = []
    stride, size = 1, 0
    for i, piece in enumerate(pieces):
        if i % stride:
            continue
        kept.append(piece)
        size += len(piece)
        while size > most and len(kept) > 1:
            kept, stride = kept[::2], 2 * stride
            size = sum(map(len, kept))
    return kept


def _check_kind(kind: str, known: Sequence[str] = KINDS) -> None:
    if kind not in known:
        raise DataError(f'data.text.tokenizer: no tokenizer "{kind}"; {suggest(kind, known)}')


def _bpe(pieces: Iterable[str], vocab_size: int) -> Engine:
    from tokenizers import Tokenizer as Engine
    from tokenizers import decoders, models, pre_tokenizers, trainers

    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    engine.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=[], show_progress=False)  # type: ignore[call-arg]
    with _threads():
        engine.train_from_iterator(pieces, trainer)
    return engine


def _characters(pieces: Iterable[str]) -> Engine:
    from tokenizers import Tokenizer as Engine
    from tokenizers import decoders, models

    seen: set[str] = set()
    for piece in pieces:
        seen.update(piece)
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(_BYTES)}
    vocabulary |= {character: _BYTES + k for k, character in enumerate(sorted(seen))}
    # byte-pair encoding without a single pair: every character stands alone, and unknown ones fall back to their bytes
    engine = Engine(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    engine.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])  # type: ignore[assignment]
    return engine


def _byte_lengths(kind: str, engine: Engine) -> np.ndarray:
    tokens = engine.get_vocab(with_added_tokens=True)
    added = {str(token.content) for token in engine.get_added_tokens_decoder().values()}
    decoder = json.loads(engine.to_str())["decoder"]
    by_byte = kind == "bpe" or (decoder is not None and decoder["type"] == "ByteLevel")
    lengths = np.zeros(max(tokens.values(), default=-1) + 1, dtype=np.int64)
    for token, i in tokens.items():
        if by_byte and token not in added:  # its alphabet writes every byte as one printable character
            lengths[i] = len(token)
        else:
            lengths[i] = 1 if _BYTE_TOKEN.fullmatch(token) else len(token.replace("\u2581", " ").encode())
    return lengths


@contextmanager
def _threads() -> Iterator[None]:
    """Let the library use its threads here, and say afterwards that it will not: it prints a warning into every later fork otherwise."""
    name = "TOKENIZERS_PARALLELISM"
    if name in os.environ:  # the user's choice
        yield
        return
    os.environ[name] = "true"
    try:
        yield
    finally:
        os.environ[name] = "false"
