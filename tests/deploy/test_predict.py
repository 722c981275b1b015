"""/v1/predict: answers that are the run's own, and everything that may be sent instead of a photograph (faults V1, V2, V7, V8, S4)."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import liandan
from liandan.deploy.worker import Worker
from tests.deploy.conftest import QUICK
from tests.deploy.servers import DEADLINE, Client, Server, form, head, read
from tests.faults.photos import bomb
from tests.unit.deploy.photos import CLASSES

MIB = 1 << 20


def doubt(answer: dict[str, Any]) -> float:
    """The logarithm of the other class's probability: it tells apart what is certain to many digits."""
    return math.log(answer["top"][1]["confidence"])


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether an answer is the run's, to what another batch rounds otherwise."""
    return found["label"] == expected["label"] and abs(doubt(found) - doubt(expected)) < 1e-3


def test_answers_are_the_runs_own_by_form_and_by_json(photo_server: Server, pictures: list[bytes], expected: list[dict[str, Any]]):
    reply = photo_server.upload(*pictures[:5], names=("图 1.png", "b.png"))
    assert reply.status == 200 and reply.json["model"] == "图片"
    assert [row["input"] for row in reply.json["predictions"]] == ["图 1.png", "b.png", "图 1.png", "b.png", "图 1.png"]
    assert all(same(row, own) for row, own in zip(reply.json["predictions"], expected[:5], strict=True))
    uris = ["data:image/png;base64," + base64.b64encode(picture).decode() for picture in pictures[:3]]
    rows = photo_server.post("/v1/predict", {"inputs": uris}).json["predictions"]
    assert [row["input"] for row in rows] == ["0", "1", "2"] and {row["label"] for row in rows} == set(CLASSES)
    assert all(same(row, own) for row, own in zip(rows, expected[:3], strict=True))


def test_a_thousand_clients_get_each_their_own_answer(photo_server: Server, pictures: list[bytes], expected: list[dict[str, Any]]):
    """Every request ends in an answer to its own picture, or in 503 with the time to come again, and then in an answer."""
    assert len({round(doubt(own), 2) for own in expected}) > 48, "answers to other clients would not be told from one's own"
    bodies = [form((f"{k}.png", picture)) for k, picture in enumerate(pictures)]
    refused = 0

    async def one(number: int) -> None:
        nonlocal refused
        client = Client(photo_server)
        for k in (number, number + 1):
            k %= len(pictures)
            for _ in range(200):
                reply = await client.post("/v1/predict", *bodies[k])
                if reply.status == 200:
                    break
                assert reply.status == 503 and reply.code == "queue_full", reply
                refused += 1
                await asyncio.sleep(float(reply.headers["retry-after"]) * (0.5 + number % 16 / 16))
            (row,) = reply.json["predictions"]
            assert row["input"] == f"{k}.png" and same(row, expected[k]), (row, expected[k])
        client.close()

    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(1000))), DEADLINE)

    with ThreadPoolExecutor(1) as aside:  # a browser's test before may have left an event loop running in this thread
        for _ in range(3):  # what a thousand connections leave in the allocator stays, and is there after a few rounds
            aside.submit(asyncio.run, all_of_them()).result()
        before = photo_server.resident()
        aside.submit(asyncio.run, all_of_them()).result()
    assert refused > 0, "the queue was never full: this test did not see what it is for"
    assert photo_server.resident() < 1.1 * before
    assert photo_server.metric("liandan_waiting") == 0 and photo_server.is_ready()
    assert photo_server.metric("liandan_batch_size_sum") > 2 * photo_server.metric("liandan_batch_size_count")


def test_one_bad_file_does_not_stop_the_rest(photo_server: Server, pictures: list[bytes], expected: list[dict[str, Any]]):
    rows = photo_server.upload(pictures[0], b"no image", pictures[1]).json["predictions"]
    assert same(rows[0], expected[0]) and same(rows[2], expected[1])
    assert rows[1]["error"]["code"] == "unreadable" and set(rows[1]) == {"input", "error"}


def _truncated() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(out, format="JPEG")
    return out.getvalue()[: len(out.getvalue()) // 2]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unreadable"),
        (b"GIF89a", "unreadable"),
        ("这不是图片".encode() * 50, "unreadable"),
        (_truncated(), "unreadable"),
        (bomb(8_000), "too_many_pixels"),  # 64 million, of which the limit is 50
        (bomb(30_000), "unreadable"),  # more than is ever decoded
    ],
    ids=["empty", "only a magic", "text", "truncated", "bomb", "large bomb"],
)  # fmt: skip
def test_what_is_no_photograph_is_told(photo_server: Server, content: bytes, code: str):
    reply = photo_server.upload(content)
    assert reply.status == 422 and reply.code == code
    assert "Traceback" not in reply.body.decode() and "/" not in reply.json["error"]["message"]
    assert photo_server.is_ready()


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("http://169.254.169.254/latest/meta-data", 400), ("https://example.com/a.png", 400), ("file:///etc/passwd", 400),
        ("/etc/passwd", 400), ("..\\..\\windows\\win.ini", 400), ("data:image/png;base64,!!", 400), ("data:text/html,<b>", 400),
        ("data:image/png;base64,AAAA", 422),
    ],
)  # fmt: skip
def test_nothing_is_fetched_and_no_file_is_opened(photo_server: Server, uri: str, status: int, tmp_path: Path):
    reply = photo_server.post("/v1/predict", {"inputs": [uri]})
    assert reply.status == status and reply.code in ("not_a_data_uri", "not_base64", "unreadable")


def test_an_address_is_never_called(photo_server: Server):
    """A listener of our own, whose address is given wherever one could be: nobody comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.png"
        assert photo_server.post("/v1/predict", {"inputs": [address]}).status == 400
        assert photo_server.upload(b"x", names=(address,)).status == 422
        with pytest.raises(TimeoutError):
            listener.accept()


MALFORMED: dict[str, tuple[str, bytes]] = {
    "no json": ("application/json", b"{"),
    "nothing": ("application/json", b""),
    "a list": ("application/json", b"[]"),
    "no inputs": ("application/json", b'{"inputs": []}'),
    "NaN": ("application/json", b'{"inputs": [NaN]}'),
    "another type": ("application/json", b'{"inputs": "a"}'),
    "an unknown key": ("application/json", b'{"inputs": ["a"], "more": 1}'),
    "half a character": ("application/json", b'{"inputs": ["\\ud800"]}'),
    "half a character as key": ("application/json", b'{"\\ud800": 1}'),
    "deep": ("application/json", b"[" * 100_000),
    "a long number": ("application/json", b'{"inputs": ' + b"9" * 10_000 + b"}"),
    "no UTF-8": ("application/json", b"\xff\xfe"),
    "too many inputs": ("application/json", json.dumps({"inputs": ["data:image/png;base64,"] * 17}).encode()),
    "no boundary": ("multipart/form-data", b"x"),
    "no part": ("multipart/form-data; boundary=b", b"--b--\r\n"),
    "no form": ("multipart/form-data; boundary=b", b"x"),
    "a field": ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n'),
    "a long part header": ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * (MIB - 100)),
    "ten thousand parts": form(*((f"{k}", b"x") for k in range(8_000))),
    "another media type": ("text/plain", b"x"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_are_4xx_with_a_code(photo_server: Server, name: str):
    kind, body = MALFORMED[name]
    reply = photo_server.request("POST", "/v1/predict", body, {"Content-Type": kind})
    assert 400 <= reply.status < 500 and reply.code, reply
    assert reply.headers["content-type"].startswith("application/json") and photo_server.request("GET", "/health").status == 200


def test_a_body_over_the_limit_is_refused_before_it_is_read(photo_server: Server, pictures: list[bytes]):
    """With a length, without one in chunks, and by a client that only says it will send much."""
    photo_server.upload(pictures[0])
    before = photo_server.resident()
    with photo_server.connect() as connection:
        length = {"Content-Type": "image/png", "Content-Length": str(10 << 30)}
        connection.sendall(head("POST", "/v1/predict", photo_server.port, None, length))
        reply = read(connection)  # nothing of the body was sent
        assert reply.status == 413 and reply.code == "body_too_large" and reply.headers["connection"] == "close"
    with photo_server.connect() as connection:
        chunked = {"Content-Type": "multipart/form-data; boundary=b", "Transfer-Encoding": "chunked"}
        start = form(("a.png", b""))[1].partition(b"\r\n--b--")[0]
        chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (start, *[b"x" * 65536] * 20)]
        connection.sendall(head("POST", "/v1/predict", photo_server.port, None, chunked) + b"".join(chunks))  # and no end
        reply = read(connection)
        assert reply.status == 413 and reply.code == "body_too_large"
    assert MIB < photo_server.record(reply)["in"] <= MIB + 65536 + 256 * 1024  # the event loop takes so much at once
    assert photo_server.resident() - before < 2 * MIB
    assert photo_server.upload(b"x" * 2 * MIB).status == 413
    assert photo_server.upload(pictures[0]).status == 200


PAGES = ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/%00", "//etc/passwd", "/C:%5Cwindows", "/v1/models/..%2f..%2fetc%2fpasswd")


@pytest.mark.parametrize("path", PAGES)
def test_no_path_leads_to_a_file(photo_server: Server, path: str):
    reply = photo_server.request("GET", path)
    assert reply.status in (400, 404) and b"root:" not in reply.body
    if reply.status == 404:
        assert reply.code in ("not_found", "model_not_found")


def test_what_a_name_says_stays_text(photo_server: Server, pictures: list[bytes]):
    names = ("<script>alert(1)</script>.png", "../../etc/passwd", "C:\\a.png", "a\x00b.png")
    reply = photo_server.upload(*pictures[:4], names=names)
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    assert [row["input"] for row in reply.json["predictions"]][:2] == list(names[:2])
    assert reply.headers["x-content-type-options"] == "nosniff" and "default-src 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}],
    ids=lambda headers: next(iter(headers)),
)
def test_another_origins_page_may_not_ask(photo_server: Server, headers: dict[str, str], pictures: list[bytes]):
    kind, body = form(("a.png", pictures[0]))
    assert photo_server.request("POST", "/v1/predict", body, {"Content-Type": kind, **headers}).status == 403
    own = {"Origin": photo_server.url, "Sec-Fetch-Site": "same-origin"}
    assert photo_server.request("POST", "/v1/predict", body, {"Content-Type": kind, **own}).status == 200


def test_every_request_leaves_one_line(photo_server: Server, pictures: list[bytes]):
    reply = photo_server.upload(pictures[0])
    record = photo_server.record(reply)
    assert (record["method"], record["path"], record["status"], record["client"]) == ("POST", "/v1/predict", 200, "127.0.0.1")
    assert record["out"] == len(reply.body) and record["ms"] > 0 and record["in"] > len(pictures[0])
    assert 'liandan_requests_total{method="POST",route="/v1/predict",status="200"}' in photo_server.request("GET", "/metrics").body.decode()


def test_methods_and_pages_that_are_not_there(photo_server: Server):
    assert photo_server.request("GET", "/v1/predict").status == 405
    assert photo_server.request("GET", "/nowhere").code == "not_found"
    talk = {"model": "图片", "messages": [{"role": "user", "content": "?"}]}
    assert photo_server.post("/v1/chat/completions", talk).code == "not_a_chat_model"
    assert photo_server.post("/v1/completions", {"model": "图片", "prompt": "?"}).code == "does_not_write"


def test_a_text_is_never_a_file(tmp_path: Path):
    """A classifier of texts opens .txt files that `predict` is given; a client's text that is such a name stays a text."""
    run = liandan.train("text_classification/tiny", {**QUICK, "run.dir": str(tmp_path / "run")}).opened
    secret = tmp_path / "secret.txt"
    secret.write_text("难吃，再也不来了。" * 20, encoding="utf-8")
    worker = Worker(run, run, io.BytesIO(), batch_size=16, batch_wait=0.0, max_pixels=1)
    named, inside, nothing = worker.results([str(secret).encode(), secret.read_bytes(), b" "])
    assert run.predict([str(secret)])[0]["confidence"] == pytest.approx(inside["confidence"])
    assert abs(named["confidence"] - inside["confidence"]) > 1e-4 and nothing["error"]["code"] == "unreadable"
