"""A conversation with a run, a piece of text at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from liandan.randomness import mix
from liandan.runs.layout import RunError
from liandan.runtime.opened import OpenRun
from liandan.tasks.sft import SFT, Sampling


class Chat:
    """Messages so far, and the run that answers.

    Args:
        run: of a task that answers: sft.
        system: what the model is told before the conversation; None: nothing but what its template says by itself.
        how: tokens are chosen; temperature 0 is the most likely answer.
        seed: of the draws; each turn has its own.
        limit: tokens of an answer.
        stops: strings that end an answer and are no part of it.
        int8: write with weights rounded to 8 bits.

    Raises:
        RunError: the run's task does not answer. ModelError: int8 for a model that has none.
    """

    def __init__(
        self,
        run: OpenRun,
        how: Sampling,
        *,
        system: str | None = None,
        seed: int = 0,
        limit: int = 512,
        stops: Sequence[str] = (),
        int8: bool = False,
    ) -> None:
        if not isinstance(run.task, SFT):
            raise RunError(f"{run.layout.root} is a run of {run.recipe.task}, which does not answer; chat needs one of sft")
        self.run, self.task, self.how, self.seed, self.limit, self.stops = run, run.task, how, seed, limit, tuple(stops)
        self.writer = run.writer(int8)
        self.messages: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []

    def ask(self, text: str) -> Iterator[str]:
        """The answer in pieces as they are made. When it has ended, question and answer belong to the conversation."""
        asked = [*self.messages, {"role": "user", "content": text}]
        prompt = self.run.pipeline.prompt(asked).tolist()
        keys = [mix(self.seed, len(asked))]
        told = ""
        run = self.run
        for piece in self.task.write(self.writer, run.pipeline, [prompt], run.device, self.how, keys, self.limit, self.stops):
            told += piece.text
            yield piece.text
        self.messages = [*asked, {"role": "assistant", "content": told}]


__all__ = ["Chat", "Sampling"]
