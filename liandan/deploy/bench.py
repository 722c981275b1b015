"""How fast a run is, and every artefact made of it, and a server of it under several clients at once."""

from __future__ import annotations

import collections
import http.client
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from liandan.deploy import prove
from liandan.deploy.artefact import ArtefactError, artefacts, open_artefact
from liandan.deploy.worker import facts
from liandan.runs.layout import Layout
from liandan.runtime.opened import OpenRun

_SECONDS = 4.0  # each number of clients asks for so long
_PATIENCE = 180.0  # seconds for a server to load its model, and for an answer
_LAST = 35.0  # seconds for it to end
_TOKENS = 32  # of an answer
_QUESTION = "炼丹 is what?"
_PHOTO = (640, 480)  # width, height of what is sent to a server
_TIMED = 256  # tokens that are timed of a model that writes
Request = tuple[str, str, bytes]  # path, type of the body, body


class BenchError(Exception):
    """Nothing could be measured; the text says why."""


def models(run: OpenRun, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Latencies of the run and of every artefact in its export/, measured in turns, on the run's own samples.

    Returns:
        [{"what": "run" or an artefact's name, "unit", "batch", "p50_ms", "p90_ms", "p99_ms", "per_second": units}]; of a model that
        writes the unit is a token, and the run alone is measured.
    """
    if hasattr(run.task, "reply"):
        return [{"what": "run", "unit": "token", "batch": 1, **figures(_token_times(run), 1)}]
    sides: dict[str, Callable[[prove.Inputs], Any]] = {"run": _forward(run, run.model)}
    for folder in artefacts(run.layout):
        try:
            artefact = open_artefact(folder)
        except ArtefactError as error:
            say(f"{folder.name} is left out: {error}")
            continue
        sides[artefact.name] = _forward(artefact, artefact.model)
    data = prove.Data(run)
    if data.missing:
        say(f"inputs are drawn at random, {data.missing}")
    with torch.no_grad():
        times = prove.timed(sides, lambda count: run.device.move(data.inputs(count)))
    unit = "image" if run.sees else "text"
    return [
        {"what": what, "unit": unit, "batch": count, **figures(seconds, count)}
        for what, counts in times.items() for count, seconds in counts.items()
    ]  # fmt: skip


def figures(seconds: Sequence[float], count: int) -> dict[str, float]:
    """Percentiles of the latency (milliseconds), linear between two calls, and how many a second there are, `count` a call."""
    p50, p90, p99 = (1000 * float(value) for value in np.percentile(seconds, (50, 90, 99)))
    return {"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "per_second": count * len(seconds) / sum(seconds)}


def _forward(side: Any, model: Any) -> Callable[[prove.Inputs], Any]:
    def call(inputs: prove.Inputs) -> Any:
        with side.device.autocast():
            return side.task.forward(model, inputs)

    return call


def _token_times(run: OpenRun) -> list[float]:
    """Seconds of each token after a short question; the first of a text, which reads the question, is left out."""
    pipeline: Any = run.pipeline
    prompt = pipeline.prompt([{"role": "user", "content": _QUESTION}]) if hasattr(pipeline, "prompt") else pipeline.encode(_QUESTION)
    found: list[float] = []
    for key in range(2 * _TIMED):  # an answer may end at once
        tokens: Iterator[int] = run.task.reply(run.model, prompt.tolist(), run.device, key=key, limit=_TOKENS)  # pyright: ignore[reportAttributeAccessIssue]
        next(tokens, None)
        while len(found) < _TIMED:
            started = time.perf_counter()
            if next(tokens, None) is None:
                break
            found.append(time.perf_counter() - started)
        if len(found) >= _TIMED:
            break
    if not found:
        raise BenchError("the model ends each answer with its first token: there is nothing to measure")
    return found


def server(run: OpenRun, clients: Sequence[int], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """A server of the run, in a process of its own, asked over HTTP by so many clients at once, each again as soon as it is answered.

    Returns:
        [{"what": "server", "unit", "clients", "p50_ms", "p90_ms", "p99_ms", "per_second", "failed", "artefact"}]: the latency is that of a
        whole request, from the file or question sent to the answer read. Of a model that writes, a request is one answer, and what is
        counted by the second is its tokens.

    Raises:
        BenchError: the server did not begin, or answered nobody.
    """
    about = facts(run, "")
    unit = "token" if about["writes"] else "image" if about["sees"] else "text"
    request = _question(about) if about["writes"] else _photo() if about["sees"] else _text()
    rows = []
    with Serving(run.layout) as serving:
        for count in clients:
            say(f"{count} client{'s' if count > 1 else ''} ...")
            seen = load(serving.port, request, count)
            rows.append({"what": "server", "unit": unit, "clients": count, **seen, "artefact": serving.artefact})
    return rows


class Serving:
    """`liandan serve` on a free port of this machine, for the time of a `with`.

    Attributes:
        port: it listens on.
        artefact: that answers.
    """

    def __init__(self, layout: Layout) -> None:
        self.port, self.artefact = 0, ""
        self._ready = threading.Event()
        self._said: collections.deque[str] = collections.deque(maxlen=5)
        command = [sys.executable, "-m", "liandan", "serve", str(layout.root), "--port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8")
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Serving:
        if not self._ready.wait(_PATIENCE) or not self.artefact:
            self.__exit__()
            raise BenchError("the server did not begin: " + " ".join(self._said))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_LAST)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        """Read the server's log to its end: where it listens, and when its model is there."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.strip())
            event = _json(line)
            if event.get("event") == "listening":
                self.port = event["port"]
            elif event.get("event") == "ready":
                self.artefact = event["artefact"]
                self._ready.set()
        self._ready.set()


def load(port: int, request: Request, clients: int) -> dict[str, Any]:
    """Send one request over and over, by `clients` at once, each on a connection of its own; what they saw together.

    Raises:
        BenchError: not one was answered.
    """
    seconds: list[float] = []
    made: list[int] = []
    failed: list[int] = []
    start, end = threading.Barrier(clients + 1), float("inf")

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        _ask(connection, request)  # the connection, and what the first of all requests takes longer
        start.wait()
        while (began := time.perf_counter()) < end:
            units = _ask(connection, request)
            if units is None:
                failed.append(1)
            else:
                seconds.append(time.perf_counter() - began)
                made.append(units)
        connection.close()

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    start.wait(_PATIENCE)
    began = time.perf_counter()
    end = began + _SECONDS
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    if not seconds:
        raise BenchError(f"the server answered none of {len(failed)} requests")
    return {**figures(seconds, 1), "per_second": sum(made) / took, "failed": len(failed)}


def _ask(connection: http.client.HTTPConnection, request: Request) -> int | None:
    """Units in the answer; None where it is an error, or there is none."""
    path, kind, body = request
    try:
        connection.request("POST", path, body, {"Content-Type": kind})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return None
    return _json(content).get("usage", {}).get("completion_tokens", 1) if response.status == 200 else None


def _photo() -> Request:
    """A form with one JPEG, of what a phone's photo is like at 640 x 480: smooth, with some grain."""
    from PIL import Image

    draw = np.random.default_rng(0)
    small = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(_PHOTO, Image.Resampling.BICUBIC)
    grained = np.asarray(small, dtype=np.int16) + draw.integers(-6, 7, (_PHOTO[1], _PHOTO[0], 3), dtype=np.int16)
    content = io.BytesIO()
    Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=90)
    border = "liandan-bench-photo"
    head = f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return "/v1/predict", f"multipart/form-data; boundary={border}", head.encode() + content.getvalue() + f"\r\n--{border}--\r\n".encode()


def _text() -> Request:
    return "/v1/predict", "application/json", json.dumps({"inputs": [_QUESTION]}).encode()


def _question(about: Mapping[str, Any]) -> Request:
    said = {"messages": [{"role": "user", "content": _QUESTION}]} if about["chats"] else {"prompt": _QUESTION}
    asked = {"model": about["name"], "max_tokens": _TOKENS, "temperature": 0, **said}
    return f"/v1/{'chat/' if about['chats'] else ''}completions", "application/json", json.dumps(asked).encode()


def _json(text: str | bytes) -> dict[str, Any]:
    """An object, or none where the text is not one."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
