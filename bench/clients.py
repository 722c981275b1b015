"""Clients of an HTTP server: python -m bench.clients PORT BODIES CLIENTS SECONDS

So many clients on connections that are kept, each sending its next request when it has the answer to the last one, on plain sockets: a
client library would cost as much as the server. BODIES is a file of JSON bodies, a line each. Prints {"rate": requests a second, "p50",
"p99": milliseconds, "failed": answers other than 200}.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path


async def client(port: int, bodies: list[bytes], first: int, ends: float, times: list[float], statuses: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn = first
    while (began := time.perf_counter()) < ends:
        body = bodies[turn % len(bodies)]
        turn += 1
        fields = f"Host: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(b"POST /v1/predict HTTP/1.1\r\n" + fields.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        times.append(time.perf_counter() - began)
        statuses.append(int(answer.split()[1]))
    writer.close()


async def measure(port: int, bodies: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """A tenth of the time first, which does not count."""
    for span in (seconds / 10, seconds):
        times: list[float] = []
        statuses: list[int] = []
        began = time.perf_counter()
        ends = began + span
        await asyncio.gather(*(client(port, bodies, 7 * k, ends, times, statuses) for k in range(clients)))
        took = time.perf_counter() - began
    times.sort()
    at = {f"p{p}": 1000 * times[min(len(times) - 1, len(times) * p // 100)] for p in (50, 99)}
    return {"rate": len(times) / took, **at, "failed": sum(status != 200 for status in statuses)}


if __name__ == "__main__":
    given = Path(sys.argv[2]).read_bytes().splitlines()
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]), given, int(sys.argv[3]), float(sys.argv[4])))))
