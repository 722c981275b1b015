"""A run behind HTTP. The way of a request:

    socket -> limits.Impatient (is it quick enough?) -> limits.Limits (may it come in? its line of the log)
           -> an endpoint here or in openai_api.py (is it well formed?)
           -> backend.Backend (is there room? its deadline) -> a pipe -> worker.Worker (batches, texts a token each in turn)
           and back; a client that leaves is noticed in backend.unless_gone and in openai_api.EventStream, and its work is forgotten
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

import prometheus_client as prometheus
import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from liandan import __version__
from liandan.deploy import errors, inputs, openai_api
from liandan.deploy.backend import Backend, unless_gone
from liandan.deploy.errors import ServeError
from liandan.deploy.limits import Impatient, Limits, Settings
from liandan.deploy.page import Page
from liandan.runs.layout import Layout, RunError

_KEEP_ALIVE = 10  # seconds that an idle connection is kept


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """What every answer of 400 and above is."""

    error: ErrorDetail


class State(BaseModel):
    status: str


class Predictions(BaseModel):
    """One prediction for each input, in order: `input`, its name, and what the run's task says of it, or `error`."""

    model: str
    predictions: list[dict[str, Any]]
    milliseconds: float


class Metrics:
    """What Prometheus may ask for."""

    def __init__(self, backend: Backend) -> None:
        self.registry = registry = prometheus.CollectorRegistry()
        labels, sizes = ["method", "route", "status"], [1, 2, 4, 8, 16, 32, 64]
        self.requests = prometheus.Counter("liandan_requests", "Requests answered.", labels, registry=registry)
        self.seconds = prometheus.Histogram("liandan_request_seconds", "From head to the answer's end.", ["route"], registry=registry)
        self.batch = prometheus.Histogram("liandan_batch_size", "Predictions made together.", registry=registry, buckets=sizes)
        for name, told, value in (
            ("liandan_waiting", "Predictions and texts that wait or are in work.", lambda: backend.waiting),
            ("liandan_ready", "Whether the model is loaded.", lambda: backend.ready),
            ("liandan_inference_starts", "How often the inference process became ready.", lambda: backend.begun),
        ):
            prometheus.Gauge(name, told, registry=registry).set_function(value)
        backend.on_batch = self.batch.observe

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)


router = APIRouter()


@router.get("/health", tags=["operation"], response_model=State)
async def health() -> Any:
    """Whether the server lives."""
    return {"status": "alive"}


@router.get("/ready", tags=["operation"], response_model=State)
async def ready(request: Request) -> Any:
    """Whether the model is loaded; 503 until then, and while the inference process is begun again."""
    if not request.app.state.backend.ready:
        raise ServeError(503, "not_ready", "the model is being loaded")
    return {"status": "ready"}


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Counters and gauges for Prometheus."""
    return Response(prometheus.generate_latest(request.app.state.metrics.registry), media_type=prometheus.CONTENT_TYPE_LATEST)


@router.post("/v1/predict", tags=["prediction"], response_model=Predictions, openapi_extra={"requestBody": inputs.REQUEST_BODY})
async def predict(request: Request) -> Any:
    """Predict on images or texts: files of a form, or JSON.

    An input that cannot be read has `error` in its place; where none can be read the first one's error is the answer.
    """
    backend: Backend = request.app.state.backend
    facts = openai_api.known(backend)
    if not (facts["sees"] or facts["reads"]):
        raise ServeError(400, "not_a_classifier", f"a run of {facts['task']} writes: ask /v1/chat/completions or /v1/completions")
    given = await inputs.read(request, facts["sees"], request.app.state.settings)
    began = time.perf_counter()
    rows = await unless_gone(request, backend.predict([content for _, content in given]))
    if all("error" in row for row in rows):
        raise ServeError(**rows[0]["error"])
    told = [{"error": errors.body(**row["error"])["error"]} if "error" in row else row for row in rows]
    return JSONResponse({
        "model": facts["name"],
        "predictions": [{"input": name, **row} for (name, _), row in zip(given, told, strict=True)],
        "milliseconds": round(1000 * (time.perf_counter() - began), 3),
    })  # fmt: skip


def create_app(settings: Settings, backend: Backend) -> FastAPI:
    """The application, to be wrapped in Limits; the backend and the page begin and end with it."""
    page = Page(backend, settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await backend.start()
        await page.start()
        try:
            yield
        finally:
            await page.close()
            await backend.close()

    responses: dict[int | str, dict[str, Any]] = {
        "4XX": {"model": ErrorBody, "description": "What was wrong with the request."},
        "5XX": {"model": ErrorBody, "description": "Not ready, too much to do (503, with Retry-After), too late (504), or a failure."},
    }
    app = FastAPI(  # the usual pages of documentation would load scripts from elsewhere
        title="liandan", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, responses=responses
    )
    app.state.settings, app.state.backend, app.state.metrics = settings, backend, Metrics(backend)
    app.include_router(router)
    app.include_router(openai_api.router)
    app.router.routes.extend(page.routes())
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(RequestValidationError, _told)
    app.add_exception_handler(Exception, _told)
    return app


async def _told(request: Request, error: Exception) -> Response:
    """Any error as JSON."""
    headers, param = None, None
    if isinstance(error, ServeError):
        status, headers, code, message, param = error.status_code, error.headers, error.code, str(error.detail), error.param
    elif isinstance(error, HTTPException):
        status, headers, message = error.status_code, error.headers, str(error.detail)
        code = {404: "not_found", 405: "method_not_allowed"}.get(status, "bad_request")
    elif isinstance(error, RequestValidationError):
        status, (code, message, param) = 400, inputs.first_fault(error.errors())
    else:
        status, code, message = 500, "failed", "the server failed on this request; its log says why"
    return JSONResponse(errors.body(status, code, message, param), status, headers)


def serve(layout: Layout, settings: Settings, say: Callable[[str], None]) -> int:
    """Serve a run until a signal ends it; returns the exit code, 0 where every request in work was answered.

    Raises:
        RunError: the address is not to be had, or the run cannot be opened.
    """
    listener = listen(settings)
    backend = Backend(
        {"run": str(layout.root), "batch_size": settings.batch_size, "batch_wait": settings.batch_wait, "max_pixels": settings.max_pixels},
        settings.queue, settings.timeout, log,
    )  # fmt: skip
    app = create_app(settings, backend)
    limits = Limits(app, settings, log, app.state.metrics.observe)
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines()], force=True)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # of a form that is none the client is told
    protocol: Any = partial(Impatient, patience=settings.patience)  # uvicorn calls what it is given, class or not
    server = uvicorn.Server(uvicorn.Config(
        limits, http=protocol, ws="none", lifespan="on", log_config=None, access_log=False, proxy_headers=False, server_header=False,
        timeout_keep_alive=_KEEP_ALIVE, timeout_graceful_shutdown=max(1, round(settings.drain)),
    ))  # fmt: skip
    backend.on_failed = partial(setattr, server, "should_exit", True)
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises what it received again when it has drained
        signal.signal(number, lambda number, frame: received.append(number))
    host, port = listener.getsockname()[:2]
    say(f"{layout.root} on http://{f'[{host}]' if ':' in host else host}:{port}")
    log({"event": "listening", **asdict(settings), "port": port, "token": bool(settings.token)})
    server.run(sockets=[listener])
    if backend.failed and not backend.facts:
        raise RunError(backend.failed)
    return 128 + received[0] if received and limits.cut else 0


def listen(settings: Settings) -> socket.socket:
    """The socket, bound; raises RunError."""
    _more_files()
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise RunError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; choose another --port") from error


def _more_files() -> None:
    """As many open files, and so connections, as this process may have: the usual soft limit is 1,024."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def log(record: dict[str, Any]) -> None:
    """One line of JSON on standard error; one that nobody takes stops nothing."""
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **record}, ensure_ascii=False)
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), errors.sound(line).encode() + b"\n")


class _Lines(logging.Handler):
    """What libraries log, as lines of the same kind."""

    def emit(self, record: logging.LogRecord) -> None:
        failure = {"traceback": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        log({"event": record.getMessage(), "level": record.levelname, "logger": record.name, **failure})
