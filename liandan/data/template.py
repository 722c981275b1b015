"""From messages to tokens, the same for training, chat and server: a chat template, cut where an answer begins.

A template is Jinja, rendered in a sandbox by transformers, as its authors meant it. A conversation is encoded in segments: the text up to
where an answer begins (the prompt, with the template's own opening of an answer), the answer with the mark that ends it, and so on. Each
segment is encoded alone. So the tokens before an answer are the ones that chat and server send, whatever the tokenizer would have merged
across the border, and the mask of what is learned is exact for every turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from liandan.data.conversations import Conversation, Message
from liandan.data.errors import DataError

# name -> template, for models that have none. ChatML is what most open models of today speak.
TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "plain": (
        "{% for message in messages %}{{ message['content'] + ('\n\n' if message['role'] != 'assistant' else eos_token) }}{% endfor %}"
    ),
}


@dataclass(frozen=True)
class Encoded:
    """A conversation as tokens.

    Attributes:
        ids: int64 (T,).
        weights: float32 (T,): what each token weighs in the loss as something to be predicted; 0 for what is given.
    """

    ids: np.ndarray
    weights: np.ndarray


class Template:
    """How messages are written for one model.

    Args:
        jinja: the template's text.
        tokenizer: encodes text with special tokens recognized: `encode(text) -> int64 (T,)`.
        special: names such as bos_token and eos_token -> the tokens' text, which templates ask for.
        stops: ids of the tokens that end an answer.
    """

    def __init__(self, jinja: str, tokenizer: Any, special: dict[str, str], stops: Sequence[int]) -> None:
        self.jinja, self.tokenizer, self.special, self.stops = jinja, tokenizer, dict(special), tuple(stops)

    def to_json(self) -> dict[str, Any]:
        """All that the tokens of a conversation depend on."""
        template = {"jinja": self.jinja, "special_tokens": self.special, "stops": list(self.stops)}
        return {"tokenizer": self.tokenizer.to_json(), "template": template}

    def render(self, messages: Sequence[Message], answer: bool = False) -> str:
        """The text of messages; with `answer`, as far as the opening of an assistant's answer.

        Raises:
            DataError: the template refuses these messages, or is no template.
        """
        try:
            from transformers.utils.chat_template_utils import render_jinja_template
        except ImportError as error:
            raise DataError(f'a chat template needs transformers ({error}): pip install "liandan[text]"') from error
        plain = [{"role": m.role, "content": m.content} for m in messages]
        try:
            options: dict[str, Any] = {"add_generation_prompt": answer, **self.special}
            texts, _ = render_jinja_template([plain], chat_template=self.jinja, **options)
        except Exception as error:  # Jinja's own, and what the template itself raises
            raise DataError(f"the chat template does not take these messages: {error}") from error
        return texts[0]

    def segments(self, messages: Sequence[Message]) -> list[tuple[str, float]]:
        """[(text, weight)]: what is given and the answers by turns, the last message last.

        Raises:
            DataError: what the template writes for the first messages is not how its text for more of them begins: where an answer
                stands in it cannot be told.
        """
        out: list[tuple[str, float]] = []
        done = ""
        for k, message in enumerate(messages):
            if message.role != "assistant":
                continue
            opened, closed = self.render(messages[:k], answer=True), self.render(messages[: k + 1])
            if not opened.startswith(done) or not closed.startswith(opened):
                raise DataError(
                    "the chat template rewrites earlier turns when later ones are added, so where an answer stands cannot be told; "
                    "train on conversations of one turn, or choose another data.text.template"
                )
            out += [(opened[len(done) :], 0.0), (closed[len(opened) :], message.loss_weight)]
            done = closed
        if messages and messages[-1].role != "assistant":
            opened = self.render(messages, answer=True)
            if not opened.startswith(done):
                raise DataError("the chat template rewrites earlier turns when later ones are added: it cannot be used for several turns")
            out.append((opened[len(done) :], 0.0))
        return out

    def encode(self, messages: Conversation) -> Encoded:
        """Tokens and their weights. Of an answer, everything to the mark that ends it is learned, that mark included.

        With a user's message last, these are the tokens to be continued.

        Raises:
            DataError: see `segments`; or an answer without a mark that ends it.
        """
        ids, weights = [], []
        for k, (text, weight) in enumerate(self.segments(messages)):
            tokens = self.tokenizer.encode(text)
            own = np.full(len(tokens), weight, dtype=np.float32)
            if k % 2:
                ends = np.flatnonzero(np.isin(tokens, self.stops))
                if len(ends) == 0:
                    raise DataError("the chat template ends an answer without a stop token: the model would never learn to stop")
                own[ends[-1] + 1 :] = 0.0
            ids.append(tokens)
            weights.append(own)
        empty = np.zeros(0, dtype=np.int64)
        return Encoded(np.concatenate([empty, *ids]), np.concatenate([empty.astype(np.float32), *weights]))
