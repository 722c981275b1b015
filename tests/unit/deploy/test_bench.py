"""Latencies are what the calls took; percentiles and rates are what numpy and arithmetic say; a server is really asked."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from liandan.cli import bench as command
from liandan.deploy import bench


def test_percentiles_and_rates() -> None:
    found = bench.figures([k / 1000 for k in range(1, 102)], 4)
    assert found["p50_ms"] == pytest.approx(51) and found["p90_ms"] == pytest.approx(91) and found["p99_ms"] == pytest.approx(100)
    assert found["per_second"] == pytest.approx(4 * 101 / (101 * 51 / 1000))


def test_the_run_and_its_artefacts_are_timed(run: Any) -> None:
    rows = bench.models(run.opened, lambda text: None)
    assert [(row["what"], row["unit"], row["batch"]) for row in rows] == [("run", "image", 1), ("run", "image", 16)]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] and row["per_second"] > 0


class _Slow(http.server.BaseHTTPRequestHandler):
    """Answers after 20 ms with 7 tokens; every fifth request gets 503."""

    protocol_version = "HTTP/1.1"
    seen: list[int] = []  # noqa: RUF012
    refused: list[int] = []  # noqa: RUF012
    one_at_a_time = threading.Lock()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.one_at_a_time:
            self.seen.append(threading.get_ident())
            status = 503 if len(self.seen) % 5 == 0 else 200
            self.refused += [1] if status == 503 else []
        time.sleep(0.02)
        body = json.dumps({"usage": {"completion_tokens": 7}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def slow() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_a_load_counts_what_was_answered(slow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_SECONDS", 0.5)
    _Slow.seen.clear()
    _Slow.refused.clear()
    found = bench.load(slow, ("/", "application/json", b"{}"), 3)
    assert len(set(_Slow.seen)) == 3, "each client has a connection of its own, and keeps it"
    assert found["p50_ms"] >= 20
    assert found["failed"] == len(_Slow.refused) >= 1
    answered = len(_Slow.seen) - 3 - found["failed"]  # each client asks once before it counts
    assert 0 < found["per_second"] <= 7 * answered / 0.5


def test_a_server_that_answers_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_SECONDS", 0.1)
    with pytest.raises(bench.BenchError, match="answered none"):
        bench.load(9, ("/", "application/json", b"{}"), 1)


@pytest.mark.parametrize(("text", "expected"), [("1,8,32", [1, 8, 32]), (" 2 ", [2]), ("none", []), ("0", [])])
def test_clients(text: str, expected: list[int]) -> None:
    assert command.numbers(text) == expected


@pytest.mark.parametrize("text", ["1,x", "-1", "1.5", "100000", "1,,2"])
def test_clients_that_are_no_numbers(text: str) -> None:
    import typer

    with pytest.raises(typer.Exit) as ended:
        command.numbers(text)
    assert ended.value.exit_code == 2
