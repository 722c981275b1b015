"""The inference process as the server sees it: asked, heard, and begun again when it dies or falls silent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from starlette.requests import Request

from liandan.deploy import frames
from liandan.deploy.errors import ServeError

_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the process is begun again, the longer the oftener it died before it was ready
_LAST = 2.0  # seconds it has to end by itself

Answer = tuple[dict[str, Any], list[bytes]]
T = TypeVar("T")


class Backend:
    """One inference process and the requests that wait for it.

    Args:
        asked: what worker.py is told: {"run", "batch_size", "batch_wait", "max_pixels"}.
        queue: predictions and texts that may wait or be in work together; more are refused.
        timeout: seconds, the deadline of a request; a process that owes an answer and is silent for so long hangs, and is killed.
        log: told {"event", ...} when the process begins, dies, or cannot open the run.

    Attributes:
        facts: what worker.facts tells of the run; empty until the model is loaded for the first time.
        ready: whether it is loaded and hears.
        waiting: predictions and texts that wait or are in work.
        begun: how often the process became ready.
        failed: why the run could not be opened at all; nothing more happens then but `on_failed`.
        on_batch: told the size of each batch of predictions.
    """

    def __init__(self, asked: dict[str, Any], queue: int, timeout: float, log: Callable[[dict[str, Any]], None]) -> None:
        self.asked, self.queue, self.timeout, self.log = asked, queue, timeout, log
        self.facts: dict[str, Any] = {}
        self.ready, self.failed = False, ""
        self.waiting, self.begun = 0, 0
        self.on_batch: Callable[[int], None] = lambda size: None
        self.on_failed: Callable[[], None] = lambda: None
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._owed: set[int] = set()  # requests that were sent and had no last word yet
        self._heard = 0.0
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    # -- what can be asked ------------------------------------------------------------------------------------------------
    async def predict(self, contents: Sequence[bytes]) -> list[dict[str, Any]]:
        """A prediction for each image (bytes of a file) or text (UTF-8), as the task's `decode` makes it, or {"error": {"status", "code",
        "message", "param"}} where one cannot be read.

        Raises:
            ServeError: 503 not ready or too much waits already, 504 the deadline passed, 500 the process died.
        """
        with self._call({"do": "predict"}, contents, len(contents)) as call:
            message, _ = await call.answer()
        return message["results"]

    async def explain(self, image: bytes, label: str | None = None) -> tuple[dict[str, Any], bytes]:
        """({"label", "confidence"}, PNG) of where the model looked for a class, None for the most probable; raises as `predict` does."""
        with self._call({"do": "explain", "label": label}, [image]) as call:
            message, pieces = await call.answer()
        return {"label": message["label"], "confidence": message["confidence"]}, pieces[0]

    async def generate(
        self, *, messages: Sequence[dict[str, str]] | None = None, prompts: Sequence[str] = (), how: dict[str, Any] | None = None,
        n: int = 1, seed: int = 0, limit: int = 512, stops: Sequence[str] = (),
    ) -> Generation:  # fmt: skip
        """Begin to write: `n` answers to messages {"role", "content"}, the user's last, or `n` texts after each prompt.

        Args:
            how: keyword arguments of liandan.tasks.sft.Sampling, such as temperature and top_p; None: the most likely text.
            seed: of the draws; each text has its own.
            limit: tokens of a text, at most.
            stops: strings that end a text.

        Returns:
            the texts as they grow; whoever has it closes it.

        Raises:
            ServeError: as `predict` does; 400 for messages that the template does not take or a prompt that is too long.
        """
        what = {"messages": list(messages)} if messages is not None else {"prompts": list(prompts)}
        how = {"temperature": 0.0} if how is None else how
        asked = {"do": "generate", **what, "how": how, "n": n, "seed": seed, "limit": limit, "stops": list(stops)}
        call = self._call(asked, (), n * max(1, len(prompts)))
        try:
            message, _ = await call.answer()
        except BaseException:
            call.close()
            raise
        return Generation(call, message["begun"])

    def _call(self, message: dict[str, Any], pieces: Sequence[bytes] = (), weight: int = 1) -> Call:
        if not self.ready:
            raise ServeError(503, "not_ready", "the model is being loaded; come again in a moment")
        if self.waiting + weight > self.queue:
            raise ServeError(503, "queue_full", f"{self.waiting} predictions or texts wait already, at most {self.queue} may; come again")
        call = Call(self, next(self._numbers), weight, time.monotonic() + self.timeout)
        self._send({"id": call.number, **message}, pieces)
        if not self._owed:
            self._heard = time.monotonic()  # silence counts from here
        self._owed.add(call.number)
        return call

    def _send(self, message: dict[str, Any], pieces: Sequence[bytes] = ()) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(RuntimeError, OSError):  # it died this moment, and whoever waits is told so
                self._process.stdin.write(frames.pack(message, pieces))  # what piles up here is bounded by the queue

    # -- the process ------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin; returns before the model is loaded."""
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End the process; who still waits is told."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    async def _keep(self) -> None:
        """Have the process running, until the end or until it is known that the run cannot be opened."""
        vain = 0
        while True:
            before, began = self.begun, time.monotonic()
            try:
                reason = await self._live()
            except (OSError, ValueError) as error:  # no memory for a process, or what it said was no frame
                reason = str(error)
            if self.failed and not self.facts:
                self.on_failed()
                return
            vain = 0 if self.begun > before else min(vain + 1, len(_PAUSES) - 1)
            lived = round(time.monotonic() - began, 1)
            self.log({"event": "inference process ended", "reason": reason, "lived": lived, "again_in": _PAUSES[vain]})
            await asyncio.sleep(_PAUSES[vain])

    async def _live(self) -> str:
        """One life of the process; returns why it ended."""
        environment = {k: v for k, v in os.environ.items() if k != "LIANDAN_TOKEN"}
        command = [sys.executable, "-m", "liandan.deploy.worker", json.dumps(self.asked)]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment
        )
        self._process = process
        watch = asyncio.create_task(self._watch(process))
        assert process.stdout is not None
        try:
            while True:
                self._hear(*await frames.read_async(process.stdout))
        except asyncio.IncompleteReadError:
            return watch.result() if watch.done() else f"exit code {await process.wait()}"
        finally:
            self.ready, self._process = False, None
            watch.cancel()
            self._owed.clear()
            for call in list(self._calls.values()):
                call.hear(({"error": _DIED, "last": True}, []))
            await _end(process)

    def _hear(self, message: dict[str, Any], pieces: list[bytes]) -> None:
        self._heard = time.monotonic()
        if "ready" in message:
            self.facts, self.ready, self.failed = message["ready"], True, ""
            self.begun += 1
            self.log({"event": "ready", "artefact": self.facts["artefact"]})
        elif "failed" in message:
            self.failed = message["failed"]
        else:
            if message.get("last"):
                self._owed.discard(message["id"])
            if "batch" in message:
                self.on_batch(message["batch"])
            call = self._calls.get(message["id"])
            if call is not None:
                call.hear((message, pieces))

    async def _watch(self, process: asyncio.subprocess.Process) -> str:
        """Kill a process that owes an answer and has been silent for the length of a deadline."""
        while True:
            await asyncio.sleep(min(1.0, self.timeout / 4))
            silent = time.monotonic() - self._heard
            if self._owed and silent > self.timeout:
                process.kill()
                return f"silent for {silent:.1f} s with {len(self._owed)} answers owed"


_DIED = {"status": 500, "code": "inference_died", "message": "the inference process died and is begun again; try again", "param": None}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let it end by itself, which it does when its input ends, or kill it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), _LAST)
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Call:
    """One request on its way: what was answered so far. Closing it early tells the process to forget it."""

    def __init__(self, backend: Backend, number: int, weight: int, deadline: float) -> None:
        self.backend, self.number, self.weight, self.deadline = backend, number, weight, deadline
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()
        self._open = True
        backend._calls[number] = self
        backend.waiting += weight

    def hear(self, answer: Answer) -> None:
        self._answers.put_nowait(answer)

    async def answer(self) -> Answer:
        """The next answer; raises ServeError, with 504 when the deadline comes first."""
        try:
            async with asyncio.timeout(self.deadline - time.monotonic()):
                message, pieces = await self._answers.get()
        except TimeoutError:
            raise ServeError(504, "timeout", f"no answer within {self.backend.timeout:g} s") from None
        if "error" in message:
            raise ServeError(**message["error"])
        return message, pieces

    def close(self) -> None:
        if self._open:
            self._open = False
            self.backend.waiting -= self.weight
            del self.backend._calls[self.number]
            if self.number in self.backend._owed:
                self.backend._send({"id": self.number, "do": "cancel"})

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Generation:
    """Texts as they grow.

    Attributes:
        prompt_tokens: of all prompts together.
        completion_tokens: of all texts together; known at the end.
    """

    def __init__(self, call: Call, prompt_tokens: int) -> None:
        self._call, self.prompt_tokens, self.completion_tokens = call, prompt_tokens, 0

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """{"index": of the text, "text": a piece of it, "finish": None, or "stop" or "length" with its last piece}; raises ServeError."""
        while True:
            message, _ = await self._call.answer()
            if message.get("last"):
                self.completion_tokens = message["tokens"]
                return
            yield {"index": message["index"], "text": message["text"], "finish": message["finish"]}

    def close(self) -> None:
        """Stop writing, if it has not ended by itself."""
        self._call.close()


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is broken off when the client closes its connection; the body must have been read."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ServeError(499, "client_gone", "the client closed its connection")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
