"""The server's own description of itself, and requests made from it by schemathesis, good ones and bad ones."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from tests.deploy.servers import Server

# A random string is a good request for a description, and no photograph; `model` must be the one that is served.
NOT_CHECKED = [schemathesis.checks.positive_data_acceptance]
FEW = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def photos_api(photo_server: Server) -> Any:
    return schemathesis.openapi.from_url(f"{photo_server.url}/openapi.json")


@pytest.fixture(scope="module")
def chat_api(chat_server: Server) -> Any:
    return schemathesis.openapi.from_url(f"{chat_server.url}/openapi.json")


photos = schemathesis.pytest.from_fixture("photos_api")
chats = schemathesis.pytest.from_fixture("chat_api")


@photos.include(path="/v1/predict").parametrize()
@FEW
def test_predictions_keep_their_description(case: Any):
    case.call_and_validate(excluded_checks=NOT_CHECKED)


@chats.exclude(path="/v1/predict").parametrize()
@FEW
def test_texts_keep_their_description(case: Any):
    case.call_and_validate(excluded_checks=NOT_CHECKED)


def test_examples_are_good_requests(photo_server: Server, chat_server: Server):
    body = photo_server.request("GET", "/openapi.json").json["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    image = body["application/json"]["examples"]["image"]["value"]
    assert photo_server.post("/v1/predict", image).status == 200
    for path in ("/v1/chat/completions", "/v1/completions"):
        described = chat_server.request("GET", "/openapi.json").json["paths"][path]["post"]["requestBody"]["content"]
        example = described["application/json"]["examples"]["short"]["value"]
        assert chat_server.post(path, {**example, "model": "questions", "max_tokens": 2}).status == 200
