"""The inference process: one run's model behind a pipe.

    python -m liandan.deploy.worker '{"run": "runs/cats", "batch_size": 16, ...}'

It reads frames on standard input and answers on standard output (frames.py). Predictions that wait are made together, at most
`batch_size` at a time; the texts of several requests grow by a piece each in turn, so that none waits for another's end. It ends when
standard input does.

    asked                                                              answered, with the same "id"
    {"do": "predict"}, images or texts as pieces                       {"results": [...], "last": true}, the first of a batch its "batch"
    {"do": "explain", "label"}, an image as a piece                    {"label", "confidence", "last": true}, a PNG as a piece
    {"do": "generate", "messages" or "prompts", "n", "seed", ...}      {"begun": tokens of the prompts}, {"index", "text"} ...,
                                                                       {"index", "text", "finish"}, {"tokens", "last": true}
    {"do": "cancel"}                                                   {"last": true}
    what cannot be done                                                {"error": {"status", "code", "message", "param"}, "last": true}
"""

from __future__ import annotations

import collections
import itertools
import json
import math
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from liandan.deploy import frames
from liandan.randomness import mix

if TYPE_CHECKING:
    from liandan.deploy.explain import Explainer
    from liandan.runtime.opened import OpenRun, Predictor

_TOGETHER = 4  # requests whose texts grow at the same time; each text has a cache of keys and values


class Refusal(Exception):
    """What a client asked cannot be done: {"status", "code", "message", "param"} of the answer."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.told = {"status": status, "code": code, "message": message, "param": param}


@dataclass
class _Prediction:
    number: int
    contents: list[bytes]
    since: float = field(default_factory=time.monotonic)


@dataclass
class _Generation:
    pieces: Iterator[Any]  # liandan.models.writing.Piece
    tokens: list[int]  # made so far of each text


class Worker:
    """Does what comes in, in turn; the only thread that touches the model.

    Args:
        run: explains and writes.
        predictor: predicts: the run, or an artefact made of it.
        batch_size: predictions made together.
        batch_wait: seconds that a first prediction waits for others.
        max_pixels: of an image, by its header.
    """

    def __init__(
        self, run: OpenRun, predictor: Predictor, out: IO[bytes], batch_size: int, batch_wait: float, max_pixels: int
    ) -> None:
        self.run, self.predictor, self.out = run, predictor, out
        self.batch_size, self.batch_wait, self.max_pixels = batch_size, batch_wait, max_pixels
        self.writer = run.writer() if hasattr(run.task, "write") else None
        self.inbox: queue.SimpleQueue[frames.Frame] = queue.SimpleQueue()
        self.predictions: collections.deque[_Prediction] = collections.deque()
        self.generations: dict[int, _Generation] = {}
        self.explainer: Explainer | None = None

    def work(self) -> None:
        """Never returns."""
        while True:
            self.receive()
            if self.predictions:
                self.predict()
            for number in list(self.generations)[:_TOGETHER]:
                self.write(number)

    def receive(self) -> None:
        """Take what has come: wait where there is nothing to do, and a moment for a fuller batch."""
        if not (self.predictions or self.generations):
            self.take(*self.inbox.get())
        while True:
            patience = 0.0
            if self.predictions and not self.generations and sum(len(p.contents) for p in self.predictions) < self.batch_size:
                patience = self.predictions[0].since + self.batch_wait - time.monotonic()
            try:
                self.take(*(self.inbox.get(timeout=patience) if patience > 0 else self.inbox.get_nowait()))
            except queue.Empty:
                return

    def take(self, message: dict[str, Any], pieces: list[bytes]) -> None:
        """One frame: what is short is done at once, the rest is put where its turn comes."""
        number = message["id"]
        try:
            if message["do"] == "predict":
                self.predictions.append(_Prediction(number, pieces))
            elif message["do"] == "generate":
                self.begin(number, message)
            elif message["do"] == "explain":
                self.explain(number, pieces[0], message["label"])
            elif message["do"] == "cancel":
                self.cancel(number)
        except Exception as error:
            self.fail(number, error)

    def tell(self, number: int, message: dict[str, Any], pieces: Sequence[bytes] = ()) -> None:
        tell(self.out, {"id": number, **message}, pieces)

    def fail(self, number: int, error: Exception) -> None:
        self.tell(number, {"error": _told(error), "last": True})

    def cancel(self, number: int) -> None:
        """Forget a request that still waits or grows; one that was answered has had its last word."""
        there = [p for p in self.predictions if p.number == number]
        for prediction in there:
            self.predictions.remove(prediction)
        if there or self.generations.pop(number, None):
            self.tell(number, {"last": True})

    # -- predictions ------------------------------------------------------------------------------------------------------
    def predict(self) -> None:
        """The requests that come first and fit into one batch."""
        taken = [self.predictions.popleft()]
        size = len(taken[0].contents)
        while self.predictions and size + len(self.predictions[0].contents) <= self.batch_size:
            taken.append(self.predictions.popleft())
            size += len(taken[-1].contents)
        results = iter(self.results([content for p in taken for content in p.contents]))
        for prediction in taken:
            own = list(itertools.islice(results, len(prediction.contents)))
            told = {"batch": size} if prediction is taken[0] else {}
            self.tell(prediction.number, {"results": own, "last": True, **told})

    def results(self, contents: list[bytes]) -> list[dict[str, Any]]:
        """A prediction for each content, or its `error`."""
        examples = [self.example(content) for content in contents]
        good = [example for example in examples if not isinstance(example, Exception)]
        try:
            found: list[Any] = self.predictor.predict(good) if good else []
        except Exception as error:  # one of them may be at fault
            found = [error] if len(good) == 1 else [self.alone(example) for example in good]
        answers = iter(found)
        rows = [example if isinstance(example, Exception) else next(answers) for example in examples]
        return [{"error": _told(row)} if isinstance(row, Exception) else _plain(row) for row in rows]

    def alone(self, example: Any) -> Any:
        try:
            return self.predictor.predict([example])[0]
        except Exception as error:
            return error

    def example(self, content: bytes) -> Any:
        """What the pipeline makes of an image's or a text's bytes, or the error that says why it cannot."""
        from liandan.runtime.opened import Unreadable, pixels

        try:
            if self.run.sees and (there := pixels(content)) > self.max_pixels:
                return Refusal(422, "too_many_pixels", f"expected at most {self.max_pixels:,} pixels, received {there:,}")
            return self.predictor.pipeline.example(content)
        except Unreadable as error:
            return Refusal(422, "unreadable", error.reason)
        except Exception as error:
            return error

    def explain(self, number: int, content: bytes, label: str | None) -> None:
        """The image under what speaks for a class; see deploy.explain."""
        from liandan.deploy.explain import Explainer
        from liandan.runs.layout import RunError

        example = self.example(content)
        if isinstance(example, Exception):
            raise example
        try:
            self.explainer = self.explainer or Explainer(self.run)
            look = self.explainer.look(example, label)
        except RunError as error:
            raise Refusal(400, "not_explained", str(error)) from error
        self.tell(number, {"label": look.label, "confidence": look.confidence, "last": True}, [look.overlay()])

    # -- texts ------------------------------------------------------------------------------------------------------------
    def begin(self, number: int, asked: dict[str, Any]) -> None:
        """Texts to write: `n` after each prompt, each with draws of its own."""
        from liandan.tasks.sft import Sampling

        run: Any = self.run
        prompts, context = self.prompts(asked), run.model.context
        longest = max(map(len, prompts))
        if longest >= context and hasattr(run.pipeline, "prompt"):  # a question that lost its beginning would be another question
            told = f"the prompt has {longest} tokens; this model sees {context} with its answer: shorten it"
            raise Refusal(400, "context_length_exceeded", told, "messages" if "messages" in asked else "prompt")
        each = [prompt for prompt in prompts for _ in range(asked["n"])]
        keys = [mix(asked["seed"], k) for k in range(len(each))]
        how = Sampling(**asked["how"])
        pieces = run.task.write(self.writer, run.pipeline, each, run.device, how, keys, asked["limit"], asked["stops"])
        self.generations[number] = _Generation(pieces, [0] * len(each))
        self.tell(number, {"begun": sum(map(len, prompts))})

    def prompts(self, asked: dict[str, Any]) -> list[list[int]]:
        """Token ids of each prompt: of messages, exactly those that training gave before an answer."""
        if "messages" not in asked:
            encode = self.run.pipeline.tokenizer.encode
            return [encode(text or "\n").tolist() for text in asked["prompts"]]
        try:
            return [self.run.pipeline.prompt(asked["messages"]).tolist()]
        except ValueError as error:  # the template does not take them
            raise Refusal(400, "messages_not_taken", str(error), "messages") from error

    def write(self, number: int) -> None:
        """The next piece of a request's texts."""
        generation = self.generations[number]
        try:
            piece = next(generation.pieces, None)
        except Exception as error:
            del self.generations[number]
            self.fail(number, error)
            return
        if piece is None:
            del self.generations[number]
            self.tell(number, {"tokens": sum(generation.tokens), "last": True})
        else:
            generation.tokens[piece.sequence] = piece.tokens
            self.tell(number, {"index": piece.sequence, "text": piece.text, "finish": piece.finish or None})


def tell(out: IO[bytes], message: dict[str, Any], pieces: Sequence[bytes] = ()) -> None:
    out.write(frames.pack(message, pieces))
    out.flush()


def facts(run: OpenRun, artefact: str) -> dict[str, Any]:
    """What a client and the page may know of a run: whether it sees images, classifies texts, writes, and answers questions.

    Args:
        artefact: what predicts, in words.

    Raises:
        RunError: it does none of these.
    """
    from liandan.runs.layout import RunError

    writes = hasattr(run.task, "write") and getattr(run.pipeline, "tokenizer", None) is not None
    reads = not writes and "ids" in run.task.inputs and bool(run.task.labels)
    if not (run.sees or reads or writes):
        raise RunError(f"a run of {run.recipe.task} takes no images, texts or questions: there is nothing to serve")
    model: Any = run.model
    return {
        "name": run.layout.name, "task": run.recipe.task, "labels": run.task.labels, "created": int(run.checkpoint.stat().st_mtime),
        "artefact": artefact, "sees": run.sees, "reads": reads, "writes": writes, "chats": writes and hasattr(run.pipeline, "prompt"),
        "system": writes and _takes_system(run.pipeline), "context": model.context if writes else None,
    }  # fmt: skip


def _takes_system(pipeline: Any) -> bool:
    """Whether the chat template has a place for a system's text."""
    asked = [{"role": "system", "content": "A"}, {"role": "user", "content": "B"}]
    try:
        return pipeline.prompt(asked).tolist() != pipeline.prompt(asked[1:]).tolist()
    except (AttributeError, ValueError):  # a model that only writes has no template; some templates refuse a system's text
        return False


def _told(error: Exception) -> dict[str, Any]:
    """An error for a client. What we did not foresee is told to the log, and to nobody else."""
    if isinstance(error, Refusal):
        return error.told
    traceback.print_exception(error)
    return {"status": 500, "code": "failed", "message": "the model failed on this input; the server's log says why", "param": None}


def _plain(value: Any) -> Any:
    """NaN and infinity, which JSON has not, as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def opened(root: Path) -> tuple[OpenRun, Predictor, str]:
    """A run, the fastest of what was proven to predict as it does, and its name and proof in words.

    Raises:
        RunError, ArtefactError: it cannot be opened.
    """
    from liandan.deploy.artefact import fastest_proven, open_artefact
    from liandan.runs.layout import Layout
    from liandan.runtime.opened import open_run

    run = open_run(Layout(root), warn=lambda text: print(text, file=sys.stderr, flush=True))
    folder = fastest_proven(Layout(root))
    if folder is None:
        return run, run, f"the run's own model: {run.checkpoint.name}, {run.device.precision} on {run.device.name}"
    artefact = open_artefact(folder)
    proof = artefact.facts["proof"]
    times = f"{proof['latency_ms']['1']:.2f} ms an image, the run's own model {proof['own']['latency_ms']['1']:.2f} ms"
    return run, artefact, f"{artefact.name}: {times}"


def _known() -> tuple[type[Exception], ...]:
    """Errors of a run or an artefact that say all there is to say."""
    from liandan.deploy.artefact import ArtefactError
    from liandan.runs.layout import RunError

    return RunError, ArtefactError


def main() -> None:
    """Become the process. The server alone ends it: Ctrl-C and a service manager signal both, and there may be work to finish."""
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print belongs into the log
    asked = json.loads(sys.argv[1])
    try:
        run, predictor, artefact = opened(Path(asked["run"]))
        ready = facts(run, artefact)
        worker = Worker(run, predictor, out, asked["batch_size"], asked["batch_wait"], asked["max_pixels"])
    except Exception as error:
        if not isinstance(error, _known()):
            traceback.print_exc()
        tell(out, {"failed": str(error)})
        return

    def listen() -> None:
        while (frame := frames.read(sys.stdin.buffer)) is not None:
            worker.inbox.put(frame)
        os._exit(0)  # whatever the model is doing: nobody waits for it

    threading.Thread(target=listen, daemon=True).start()
    tell(out, {"ready": ready})
    worker.work()


if __name__ == "__main__":
    main()
