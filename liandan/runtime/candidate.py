"""A language model that is judged beside others, whoever made it: a run's best, or a base model as its makers left it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from liandan import models
from liandan.data.chat_pipeline import ChatPipeline, template_of
from liandan.data.choices import ChoiceSource, Shots
from liandan.data.conversations import ConversationSource
from liandan.data.errors import DataError
from liandan.data.few_shot import read_shots
from liandan.data.split import restore
from liandan.data.template import Template
from liandan.data.text import TextSource
from liandan.data.text_pipeline import TextPipeline
from liandan.data.tokenizer import RESERVED, Tokenizer
from liandan.models import sampling
from liandan.models.weights import load_weights
from liandan.recipe import Recipe, make_recipe
from liandan.runs import layout as layouts
from liandan.runs import store
from liandan.runs.layout import Layout, RunError
from liandan.runtime import assemble, weights
from liandan.runtime.device import Device, choose_precision
from liandan.runtime.opened import open_run
from liandan.tasks import choices, text_metrics
from liandan.tasks.evaluation import evaluate
from liandan.tasks.language_model import LanguageModel
from liandan.tasks.sft import SFT
from liandan.tasks.writing import writer

_HF = "hf/"
_CONTEXT = 1024  # tokens of a sequence that is judged, for every candidate alike; fewer where one sees fewer
_TOGETHER = 4  # sequences of one forward pass
_ANSWER = 512  # most tokens of an answer
_PROMPT, _MADE, _TIMES = 128, 48, 3  # tokens of the prompt whose speed is measured, tokens made after it, repetitions


@dataclass
class Candidate:
    """A language model in evaluation mode, on its device.

    Attributes:
        template: how it is asked; None where its tokenizer has no token that ends an answer.
        chats: whether it has a template of its own; else it has learned to write, and is asked in plain text.
    """

    recipe: Recipe
    model: Any
    tokenizer: Tokenizer
    template: Template | None
    chats: bool
    device: Device

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def context(self) -> int:
        """Tokens of a sequence that is judged."""
        return min(_CONTEXT, int(self.model.context))

    def judge(self, source: Any, answers: int, shots: Shots = ()) -> dict[str, float]:
        """{metric: value} of text, conversations or questions with choices; what `evaluate` prints for a run.

        Args:
            answers: of at most so many conversations, what the model writes is judged as well. An answer is broken off at twice the
                length of the longest expected one: a base model may never end by itself.
            shots: examples before each question.

        Raises:
            DataError: another format.
        """
        if isinstance(source, ChoiceSource):
            return choices.judge(self.model, self._asking() if self.chats else self._writing(), source, self.device, shots)[1]
        if isinstance(source, TextSource):
            pipeline: Any = self._writing()
            task_type: type[LanguageModel | SFT] = LanguageModel
        elif isinstance(source, ConversationSource):
            pipeline, task_type = self._asking(), SFT
        else:
            raise DataError(f"{source.path}: expected text, conversations or questions with choices, found {source.format}")
        task = task_type(None, None, pipeline.describe())
        samples: Any = pipeline.samples(source, training=False)
        loader = assemble.make_loader(self.recipe, samples, self.device)
        found = task.summary(evaluate(task, self.model, loader.evaluation(_TOGETHER), self.device))
        if isinstance(task, SFT) and answers:
            found |= self._written(task, pipeline, samples, min(answers, len(samples)), shots)
        return found

    def _written(self, task: SFT, pipeline: Any, samples: Any, count: int, shots: Shots) -> dict[str, float]:
        text_metrics.load()
        expected = [len(self.tokenizer.encode(samples.source.messages(i)[-1].content)) for i in range(count)]
        rows = list(task.answered(self.model, pipeline, samples, self.device, count, min(_ANSWER, 2 * max(expected) + 8), shots))
        return text_metrics.judge([row["answer"] for row in rows], [row["expected"] for row in rows])[1]

    def _writing(self) -> TextPipeline:
        return TextPipeline(self.tokenizer, self.tokenizer.vocab_size, self.context)

    def _asking(self) -> ChatPipeline:
        if self.template is None:
            raise DataError("its tokenizer has no token that ends an answer: it can be judged on text and on choices alone")
        return ChatPipeline(self.tokenizer, self.template, self.context)

    @torch.no_grad()
    def speed(self, text: str) -> dict[str, float]:
        """Tokens a second of reading a prompt and of writing after it, as `chat` and the server write; one sequence, medians of a few
        repetitions.

        Args:
            text: whose first tokens are the prompt.
        """
        room = int(self.model.context)
        model = writer(self.model, self.device)
        made = max(1, min(_MADE, room // 4))
        wanted = max(1, min(_PROMPT, room - made - 1))
        tokens = np.resize(self.tokenizer.encode(text), wanted)  # repeated where the text is short
        batch = self.device.move({"ids": torch.from_numpy(tokens)[None], "key": torch.tensor([0])})
        reading: list[float] = []
        writing: list[float] = []
        for _ in range(_TIMES + 1):
            with self.device.autocast():
                cache = model.new_cache(1, wanted + made)
                started = time.perf_counter()
                float(model.step(batch["ids"], cache)[0, 0])  # waits for the device
                reading.append(time.perf_counter() - started)
                written = sampling.generate(
                    model.step, batch["ids"], made, sampling.GREEDY, batch["key"], context=room, new_cache=model.new_cache
                )
                moments = [(int(token), time.perf_counter())[1] for token in written]
            writing += [after - before for before, after in pairwise(moments)]
        found = {"prefill_tokens_per_second": wanted / median(reading[1:])}  # the first warms up
        if writing:
            found["decode_tokens_per_second"] = 1 / median(writing)
        return found


def open_candidate(target: str) -> Candidate:
    """A run (its directory, its name, `last`), `hf/<folder, hub id or GGUF file>`, or the path of a folder of transformers, such as an
    exported one, or of a GGUF file.

    Raises:
        RunError: no such run, or one of no language model. ModelError: no such model.
    """
    made = _base(target) if is_base(target) else _run(target)
    made.device.precision = choose_precision(made.device.name, made.model).value  # one rule for all of them, however they were trained
    made.model = made.device.place(made.model).eval()
    return made


def is_base(target: str) -> bool:
    """Whether a target is a base model and no run."""
    path = Path(target)
    own = (path.suffix.lower() == ".gguf" and path.is_file()) or (path / "config.json").is_file()
    return target.startswith(_HF) or (own and not Layout(path).is_run())


def _run(target: str) -> Candidate:
    run = open_run(layouts.find(target))
    tokenizer = getattr(run.pipeline, "tokenizer", None)
    if not isinstance(run.pipeline, TextPipeline | ChatPipeline) or tokenizer is None:
        raise RunError(f"{run.layout.root} is a run of {run.recipe.task} and writes no text: it cannot be judged beside language models")
    run.merge_adapter()
    if isinstance(run.pipeline, ChatPipeline):
        return Candidate(run.recipe, run.model, tokenizer, run.pipeline.template, True, run.device)
    plain = _plain(tokenizer, {"special_tokens": {"eos_token": RESERVED[1]}})
    return Candidate(run.recipe, run.model, tokenizer, plain, False, run.device)


def _base(target: str) -> Candidate:
    name = weights.local(target if target.startswith(_HF) else _HF + target)
    recipe = make_recipe({"task": "sft", "data": {"train": "none"}, "model": {"name": name, "weights": "pretrained"}})
    model = models.build(name)
    initial = weights.find(recipe)
    if initial is not None:
        load_weights(model, initial)
    own = models.defaults(name)
    tokenizer = Tokenizer.from_json(own["tokenizer"])
    chats = bool(own.get("chat_template"))
    template = template_of(tokenizer, own) if chats else _plain(tokenizer, own)
    return Candidate(recipe, model, tokenizer, template, chats, assemble.find_device(recipe))


def _plain(tokenizer: Tokenizer, own: dict[str, Any]) -> Template | None:
    """Question, empty line, answer: for a model that has no template."""
    return template_of(tokenizer, own, "plain") if tokenizer.ids([own.get("special_tokens", {}).get("eos_token", "")]) else None


def samples_of(data: str, targets: Sequence[str], limit: int) -> Any:
    """The raw source that all targets are judged on: of the data at a path, or `source:<name>`, what none of the runs among them has
    learned from, and of that at most `limit` samples (0: all), spread evenly.

    Raises:
        DataError: no such data. RunError: a run has learned all of it.
    """
    source = assemble.read_source(make_recipe({"task": "sft", "data": {"train": data}, "model": {"name": "none"}}).data.train)
    held = [names for target in targets if not is_base(target) and (names := _held_out(layouts.find(target), source)) is not None]
    if held:
        common = [name for name in held[0] if all(name in other for other in held[1:])]
        if not common:
            raise RunError(f"the runs have learned from all of {data} among them: give data that they have not seen")
        source = restore(source, common)[1]
    if limit and limit < len(source):
        source = source.subset(np.arange(limit) * len(source) // limit)
    return source


def _held_out(layout: Layout, source: Any) -> list[str] | None:
    """Names, in `source`, of what a run has held out of it; None where it was trained on other files."""
    facts, mine = store.read_json(layout.data), source.manifest()
    theirs = facts["manifests"].get("train")
    if theirs is None or mine is None or sorted(row[1:] for row in theirs) != sorted(row[1:] for row in mine):
        return None
    names = facts["held_out"] or []
    return [f"{mine[0][0]}:{name.rpartition(':')[2]}" for name in names] if len(mine) == 1 else names


def read_examples(path: str | None) -> Shots:
    """The examples of a few-shot file; none without one. See data.few_shot.read_shots."""
    return [] if path is None else read_shots(path)


def some_text(source: Any, characters: int = 4000) -> str:
    """The beginning of a source's text."""
    if isinstance(source, TextSource):
        return next(source.pieces())[:characters]
    if isinstance(source, ChoiceSource):
        return "\n".join(item.question for item in source.items[:100])[:characters]
    return "\n".join(message.content for i in range(min(100, len(source))) for message in source.messages(i))[:characters]
