"""OpenAI's endpoints, asked by OpenAI's own client; answers are the run's own, token for token."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import liandan
from liandan.deploy.chat import Chat, Sampling
from tests.deploy.servers import Server, head, serving, until

QUESTIONS = [{"role": "user", "content": "请写一首题为《春晓》的诗。"}]
NAME = "questions"


@pytest.fixture(scope="module")
def client(chat_server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{chat_server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def greedy(chat_run: Path) -> str:
    """What `liandan chat` answers."""
    run = liandan.open_run(chat_run).opened
    return "".join(Chat(run, Sampling(0.0), limit=40).ask(QUESTIONS[0]["content"]))


def ask(client: openai.OpenAI, **how: Any) -> Any:
    return client.chat.completions.create(**{"model": NAME, "messages": QUESTIONS, "max_tokens": 40, **how})


def test_the_answer_is_the_one_that_chat_gives(client: openai.OpenAI, greedy: str, chat_run: Path):
    found = ask(client, temperature=0)
    assert len(greedy) > 5 and found.choices[0].message.content == greedy
    pipeline = liandan.open_run(chat_run).opened.pipeline
    assert found.usage.prompt_tokens == len(pipeline.encode(QUESTIONS[0]["content"]))
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert found.usage.completion_tokens == 40 and found.choices[0].finish_reason == "length"
    assert [model.id for model in client.models.list()] == [NAME] and client.models.retrieve(NAME).object == "model"


def test_streamed_it_is_the_same_in_pieces(client: openai.OpenAI, greedy: str):
    chunks = list(ask(client, temperature=0, stream=True, stream_options={"include_usage": True}))
    told = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in told) == greedy and len(told) > 10
    assert told[0].delta.role == "assistant" and [c.finish_reason for c in told if c.finish_reason] == ["length"]
    assert chunks[-1].usage.completion_tokens == 40 and chunks[-1].choices == [] and len({chunk.id for chunk in chunks}) == 1


def test_events_are_what_the_standard_says(chat_server: Server):
    reply = chat_server.post("/v1/chat/completions", {"model": NAME, "messages": QUESTIONS, "max_tokens": 3, "stream": True, "n": 2})
    assert reply.headers["content-type"].startswith("text/event-stream") and reply.body.endswith(b"data: [DONE]\n\n")
    lines = reply.body.decode().split("\n\n")
    assert all(line.startswith("data: ") for line in lines[:-1])
    chunks = [json.loads(line[6:]) for line in lines[:-2]]
    assert {chunk["choices"][0]["index"] for chunk in chunks} == {0, 1} and all("usage" not in chunk for chunk in chunks)


def test_seeds_and_several_choices(client: openai.OpenAI):
    first, again, other = (ask(client, n=3, seed=seed, temperature=1.0) for seed in (7, 7, 8))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2] and len(set(texts)) == 3
    assert [choice.message.content for choice in again.choices] == texts
    assert [choice.message.content for choice in other.choices] != texts
    assert 40 < first.usage.completion_tokens <= 120


def test_a_stop_string_ends_the_text_and_is_not_in_it(client: openai.OpenAI, greedy: str):
    stop = greedy[4:6]
    cut = greedy[: greedy.index(stop)]
    for how in ({"stop": stop}, {"stop": ["never said", stop]}):
        found = ask(client, temperature=0, **how).choices[0]
        assert found.message.content == cut and found.finish_reason == "stop"
    streamed = [chunk.choices[0] for chunk in ask(client, temperature=0, stop=stop, stream=True)]
    assert "".join(c.delta.content or "" for c in streamed) == cut and streamed[-1].finish_reason == "stop"


def test_penalties_reach_the_sampling(client: openai.OpenAI, chat_run: Path):
    run = liandan.open_run(chat_run).opened
    given: list[dict[str, Any]] = [{"frequency_penalty": 2.0}, {"presence_penalty": 2.0}, {"frequency_penalty": -1.0}]
    for how in given:
        wanted = "".join(Chat(run, Sampling(0.0, **how), limit=40).ask(QUESTIONS[0]["content"]))
        assert ask(client, temperature=0, **how).choices[0].message.content == wanted, how
    plain = ask(client, temperature=0).choices[0].message.content
    assert ask(client, temperature=0, frequency_penalty=2.0).choices[0].message.content != plain


def test_a_conversation_is_sent_as_training_saw_it(client: openai.OpenAI, chat_run: Path):
    run: Any = liandan.open_run(chat_run).opened
    talk: list[Any] = [
        {"role": "developer", "content": "你是诗人。"},
        {"role": "user", "content": [{"type": "text", "text": "请写"}, {"type": "text", "text": "诗。"}]},
        {"role": "assistant", "content": "好。"},
        {"role": "user", "content": "短一些。"},
    ]
    plain = [{"role": "system", "content": "你是诗人。"}, {"role": "user", "content": "请写诗。"}, *talk[2:]]
    tokens = run.pipeline.prompt(plain).tolist()
    found = ask(client, messages=talk, temperature=0, max_tokens=10)
    assert found.usage.prompt_tokens == len(tokens)
    assert found.choices[0].message.content == run.task.written(run.writer(), run.pipeline, tokens, run.device, 10)


def test_completions_take_prompts_as_they_are(text_run: Path, tmp_path: Path):
    run: Any = liandan.open_run(text_run).opened
    tokens = run.pipeline.encode("春眠不觉晓").tolist()
    wanted = "".join(piece.text for piece in run.task.write(run.writer(), run.pipeline, [tokens], run.device, limit=12))
    with serving(text_run, tmp_path) as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
        found = client.completions.create(model="poems", prompt=["春眠不觉晓", "a"], max_tokens=12, temperature=0, n=2)
        assert [choice.index for choice in found.choices] == [0, 1, 2, 3] and found.choices[0].text == found.choices[1].text == wanted
        assert found.usage is not None and found.usage.completion_tokens == 48
        pieces = list(client.completions.create(model="poems", prompt="春眠不觉晓", max_tokens=12, temperature=0, stream=True))
        assert "".join(piece.choices[0].text for piece in pieces) == wanted
        with pytest.raises(openai.BadRequestError) as failure:
            client.chat.completions.create(model="poems", messages=[{"role": "user", "content": "?"}])
        assert failure.value.code == "not_a_chat_model"


@pytest.mark.parametrize(
    ("how", "status", "code", "param"),
    [
        ({"model": "gpt-9"}, 404, "model_not_found", "model"),
        ({"temperature": 3}, 400, "invalid_value", "temperature"),
        ({"n": 9}, 400, "invalid_value", "n"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, 400, "nothing_asked", "messages"),
        ({"messages": [{"role": "user", "content": "长" * 500}]}, 400, "context_length_exceeded", "messages"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "unknown_parameter", "tools"),
        ({"stop": ["a"] * 5}, 400, "invalid_value", None),
        ({"stop": ""}, 400, "invalid_value", None),
    ],
)
def test_errors_are_openais(client: openai.OpenAI, how: dict[str, Any], status: int, code: str, param: str | None):
    with pytest.raises(openai.APIStatusError) as failure:
        ask(client, **how)
    body: Any = failure.value.body
    assert (failure.value.status_code, failure.value.code) == (status, code) and body["message"]
    assert param is None or failure.value.param == param


@pytest.mark.parametrize("url", ["http://169.254.169.254/a", "https://example.com/a", "file:///etc/passwd", "data:image/png;base64,AAAA"])
def test_no_image_is_fetched(client: openai.OpenAI, url: str):
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    with pytest.raises(openai.BadRequestError) as failure:
        ask(client, messages=[{"role": "user", "content": content}])
    assert failure.value.code == ("no_images" if url.startswith("data:") else "not_a_data_uri")


def test_a_client_that_leaves_stops_the_writing(chat_server: Server):
    """Streamed or not: when the client is gone, nothing waits any more, and the process that was writing goes on with others."""
    worker = chat_server.worker()
    for stream in (True, False):
        asked = {"model": NAME, "messages": QUESTIONS, "n": 8, "temperature": 1.5, "stream": stream}
        body = json.dumps(asked).encode()
        with chat_server.connect() as connection:
            os.kill(worker, signal.SIGSTOP)  # so that it cannot end by itself before the client has left
            connection.sendall(head("POST", "/v1/chat/completions", chat_server.port, body, {"Content-Type": "application/json"}) + body)
            until(lambda: chat_server.metric("liandan_waiting") == 8, chat_server.text)
        until(lambda: chat_server.metric("liandan_waiting") == 0, chat_server.text)
        os.kill(worker, signal.SIGCONT)
    assert chat_server.post("/v1/chat/completions", {"model": NAME, "messages": QUESTIONS, "max_tokens": 2}).status == 200
    assert chat_server.worker() == worker


def test_a_client_that_leaves_within_a_stream_stops_it(chat_server: Server):
    """It has read the beginning; the rest would be written for nobody."""
    asked = {"model": NAME, "messages": QUESTIONS, "n": 8, "temperature": 2.0, "stream": True}
    body = json.dumps(asked).encode()
    worker = chat_server.worker()
    with chat_server.connect() as connection:
        connection.sendall(head("POST", "/v1/chat/completions", chat_server.port, body, {"Content-Type": "application/json"}) + body)
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
        os.kill(worker, signal.SIGSTOP)
    until(lambda: chat_server.metric("liandan_waiting") == 0, chat_server.text)
    os.kill(worker, signal.SIGCONT)
    assert chat_server.post("/v1/chat/completions", {"model": NAME, "messages": QUESTIONS, "max_tokens": 2}).status == 200
