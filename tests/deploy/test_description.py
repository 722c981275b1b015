"""The server's own description of itself, and requests made from it by schemathesis, good ones and bad ones (fault V8)."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
import schemathesis.checks
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from tests.deploy.servers import Server

# what the description allows and a server may still refuse: random bytes are no photograph, and `model` must be the one that is served
NOT_CHECKED = [schemathesis.checks.positive_data_acceptance]
FEW = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
PREDICT, REST = "/v1/predict", ("/health", "/ready", "/v1/models", "/v1/models/{name}", "/v1/chat/completions", "/v1/completions")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
def test_predictions_keep_their_description(photo_server: Server, mode: GenerationMode):
    keep_their_description(photo_server, mode, {PREDICT})


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
def test_texts_keep_their_description(chat_server: Server, mode: GenerationMode):
    keep_their_description(chat_server, mode, set(REST))


def keep_their_description(server: Server, mode: GenerationMode, paths: set[str]) -> None:
    """Statuses, types and bodies of the answers to requests of every kind are those that the description names, and none is 500."""
    described = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations: list[Any] = [found.ok() for found in described.get_all_operations()]  # pyright: ignore[reportAttributeAccessIssue]
    assert {operation.path for operation in operations} >= {PREDICT, *REST}
    for operation in operations:
        if operation.path in paths and (mode is GenerationMode.POSITIVE or operation.method == "post"):

            @FEW
            @given(case=operation.as_strategy(generation_mode=mode))
            def keeps(case: Any) -> None:
                case.call_and_validate(excluded_checks=NOT_CHECKED)

            keeps()
    assert server.is_ready() and server.metric("liandan_waiting") == 0


def test_examples_are_good_requests(photo_server: Server, chat_server: Server):
    body = photo_server.request("GET", "/openapi.json").json["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    image = body["application/json"]["examples"]["image"]["value"]
    assert photo_server.post("/v1/predict", image).status == 200
    for path in ("/v1/chat/completions", "/v1/completions"):
        described = chat_server.request("GET", "/openapi.json").json["paths"][path]["post"]["requestBody"]["content"]
        example = described["application/json"]["examples"]["short"]["value"]
        assert chat_server.post(path, {**example, "model": "questions", "max_tokens": 2}).status == 200
