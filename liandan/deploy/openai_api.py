"""OpenAI's endpoints for runs that write: models, chat completions, completions; streamed as server-sent events or whole.

What OpenAI's API has and a run does not (tools, log-probabilities, images, echo, ...) is refused by name, never ignored in silence.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from liandan.deploy import errors
from liandan.deploy.backend import Backend, Generation, unless_gone
from liandan.deploy.errors import ServeError

router = APIRouter(tags=["openai"])
_MOST_TEXTS = 8  # prompts times n
_SHORT = 16  # tokens of a completion that asks for no number, as OpenAI has it
Stop = Annotated[str, Field(min_length=1, max_length=200)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class TextPart(Strict):
    type: Literal["text"]
    text: str


class ImageURL(Strict):
    url: str
    detail: str | None = None


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: ImageURL


class Message(Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]
    name: str | None = None


class StreamOptions(Strict):
    include_usage: bool = False


class Sampled(Strict):
    """What both kinds of completion take."""

    model: str = Field(description="The run's name, as /v1/models tells it.")
    temperature: float | None = Field(None, ge=0, le=2, description="1 where it is not given; 0: the most likely text.")
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=1, le=1_000_000, description="Not OpenAI's: only the k most likely tokens.")
    min_p: float | None = Field(None, ge=0, le=1, description="Not OpenAI's: only tokens so likely, relative to the most likely.")
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    n: int | None = Field(None, ge=1, le=_MOST_TEXTS)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, description="The same seed and request give the same texts.")
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    max_tokens: int | None = Field(None, ge=1, description="At most as many as the server allows and the model has room for.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, description="Taken, and not used; so are metadata and store.")
    metadata: dict[str, str] | None = None
    store: bool | None = None

    def how(self) -> dict[str, Any]:
        """Keyword arguments of Sampling."""
        names = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class ChatRequest(Sampled):
    messages: list[Message] = Field(min_length=1, max_length=256)
    max_completion_tokens: int | None = Field(None, ge=1)


class CompletionRequest(Sampled):
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=_MOST_TEXTS)]


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Answer(BaseModel):
    """OpenAI's chat.completion or text_completion; streamed, its chunks as server-sent events, the last one [DONE]."""

    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: Usage


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "liandan"


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


@dataclass(frozen=True)
class Form:
    """How one endpoint writes texts down.

    Attributes:
        choice: (index, text, finish) of a whole text.
        piece: (index, piece, finish) of a chunk.
        opening: (index) of the chunk before the first piece, if there is one.
    """

    prefix: str
    object: str
    chunk: str
    choice: Callable[[int, str, str | None], dict[str, Any]]
    piece: Callable[[int, str, str | None], dict[str, Any]]
    opening: Callable[[int], dict[str, Any]] | None = None


def _choice(index: int, finish: str | None, **content: Any) -> dict[str, Any]:
    return {"index": index, **content, "logprobs": None, "finish_reason": finish}


CHAT = Form(
    "chatcmpl", "chat.completion", "chat.completion.chunk",
    choice=lambda index, text, finish: _choice(index, finish, message={"role": "assistant", "content": text, "refusal": None}),
    piece=lambda index, text, finish: _choice(index, finish, delta={"content": text} if text else {}),
    opening=lambda index: _choice(index, None, delta={"role": "assistant", "content": ""}),
)  # fmt: skip
TEXT = Form(
    "cmpl", "text_completion", "text_completion",
    choice=lambda index, text, finish: _choice(index, finish, text=text),
    piece=lambda index, text, finish: _choice(index, finish, text=text),
)  # fmt: skip

_EVENTS = {200: {"model": Answer, "content": {"text/event-stream": {"schema": {"type": "string"}}}}}


def _example(**values: Any) -> dict[str, Any]:
    value = {"model": "tiny-questions", "max_tokens": 64, **values}
    return {"requestBody": {"content": {"application/json": {"examples": {"short": {"value": value}}}}}}


@router.get("/v1/models", response_model=Models)
async def models(request: Request) -> Any:
    """The one run that is served."""
    return Models(data=[_model(known(request.app.state.backend))])


@router.get("/v1/models/{name:path}", response_model=Model)
async def model(request: Request, name: str) -> Any:
    """The run, by its name."""
    return _model(_named(request, name))


@router.post("/v1/chat/completions", responses=_EVENTS, openapi_extra=_example(messages=[{"role": "user", "content": "你好"}]))  # pyright: ignore[reportArgumentType]
async def chat_completions(request: Request, asked: ChatRequest) -> Response:
    """Answers to a conversation, written by the run's own chat template."""
    if not _named(request, asked.model)["chats"]:
        raise ServeError(400, "not_a_chat_model", "this run has no chat template: ask /v1/completions", "model")
    if asked.messages[-1].role != "user":
        raise ServeError(400, "nothing_asked", "expected the user's message last", "messages")
    messages = [
        {"role": "system" if message.role == "developer" else message.role, "content": _text(message, f"messages.{k}.content")}
        for k, message in enumerate(asked.messages)
    ]
    limit = asked.max_completion_tokens or asked.max_tokens
    return await _answer(request, asked, CHAT, 1, limit, messages=messages)


@router.post("/v1/completions", responses=_EVENTS, openapi_extra=_example(prompt="春眠不觉晓，"))  # pyright: ignore[reportArgumentType]
async def completions(request: Request, asked: CompletionRequest) -> Response:
    """Texts that go on from prompts, which are taken as they are, without a template."""
    if not _named(request, asked.model)["writes"]:
        raise ServeError(400, "does_not_write", "this run writes nothing: ask /v1/predict", "model")
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    return await _answer(request, asked, TEXT, len(prompts), asked.max_tokens or _SHORT, prompts=prompts)


def known(backend: Backend) -> dict[str, Any]:
    """The facts of the run; raises ServeError (503) before it is loaded."""
    if not backend.facts:
        raise ServeError(503, "not_ready", "the model is being loaded; come again in a moment")
    return backend.facts


def _named(request: Request, name: str) -> dict[str, Any]:
    facts = known(request.app.state.backend)
    if name != facts["name"]:
        raise ServeError(404, "model_not_found", f'no model "{name[:200]}" is served here; there is "{facts["name"]}"', "model")
    return facts


def _model(facts: dict[str, Any]) -> Model:
    return Model(id=facts["name"], created=facts["created"])


def _text(message: Message, param: str) -> str:
    """A message's text; raises ServeError for images, which no run of today reads, and whose addresses would not be fetched if one did."""
    if isinstance(message.content, str):
        return message.content
    for part in message.content:
        if isinstance(part, ImagePart) and not part.image_url.url.startswith("data:"):
            raise ServeError(400, "not_a_data_uri", "expected an image as data:image/...;base64,...; addresses are not fetched", param)
        if isinstance(part, ImagePart):
            raise ServeError(400, "no_images", "this run reads text alone", param)
    return "".join(part.text for part in message.content if isinstance(part, TextPart))


async def _answer(request: Request, asked: Sampled, form: Form, begun: int, limit: int | None, **what: Any) -> Response:
    """Have the texts written, `n` for each of the prompts or conversations that are `begun`, and tell them in a form."""
    backend, settings = request.app.state.backend, request.app.state.settings
    n = asked.n or 1
    if begun * n > _MOST_TEXTS:
        raise ServeError(400, "too_many_texts", f"expected at most {_MOST_TEXTS} texts, received {begun} prompts with n {n}", "n")
    generation = await unless_gone(request, backend.generate(
        how={"temperature": 1.0, **asked.how()}, n=n, stops=asked.stops(), limit=min(limit or settings.max_tokens, settings.max_tokens),
        seed=secrets.randbelow(1 << 31) if asked.seed is None else asked.seed, **what,
    ))  # fmt: skip
    head = {"id": f"{form.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked.model}
    if asked.stream:
        with_usage = asked.stream_options is not None and asked.stream_options.include_usage
        return EventStream(_events(generation, form, {**head, "object": form.chunk}, begun * n, with_usage), generation)
    with contextlib.closing(generation):
        texts, ends = await unless_gone(request, _whole(generation, begun * n))
    choices = [form.choice(k, text, end) for k, (text, end) in enumerate(zip(texts, ends, strict=True))]
    return JSONResponse({**head, "object": form.object, "choices": choices, "usage": _usage(generation)})


async def _whole(generation: Generation, count: int) -> tuple[list[str], list[str | None]]:
    texts: list[str] = [""] * count
    ends: list[str | None] = [None] * count
    async for piece in generation:
        texts[piece["index"]] += piece["text"]
        ends[piece["index"]] = piece["finish"]
    return texts, ends


async def _events(generation: Generation, form: Form, head: dict[str, Any], count: int, with_usage: bool) -> AsyncIterator[str]:
    """The chunks of all texts, as they grow, as server-sent events."""
    tail = {"usage": None} if with_usage else {}
    try:
        for index in range(count if form.opening else 0):
            yield _event({**head, "choices": [form.opening(index)], **tail})  # pyright: ignore[reportOptionalCall]
        async for piece in generation:
            yield _event({**head, "choices": [form.piece(piece["index"], piece["text"], piece["finish"])], **tail})
        if with_usage:
            yield _event({**head, "choices": [], "usage": _usage(generation)})
    except ServeError as error:  # the status has been sent long ago
        yield _event(errors.body(error.status_code, error.code, str(error.detail), error.param))
        return
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _usage(generation: Generation) -> dict[str, int]:
    prompt, completion = generation.prompt_tokens, generation.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class EventStream(StreamingResponse):
    """Server-sent events; when the client leaves, the writing ends."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], generation: Generation) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self.generation = generation

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.generation.close()
