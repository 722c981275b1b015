"""The same run behind LitServe: python -m bench.peers.litserve RUN PORT BATCH

Its own flags for speed: a batch with a time-out, the fast queue (ZeroMQ), one worker, as many as liandan has, and one API process. The
model and its preprocessing are liandan's on both sides, so that servers are compared and nothing else.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import litserve

_WAIT = 0.002  # seconds that a first request waits for others, as liandan's


class Classifier(litserve.LitAPI):
    """A run, asked with the bodies that `liandan serve` takes."""

    def __init__(self, run: Path, batch: int) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=_WAIT, api_path="/v1/predict")
        self.path = run

    def setup(self, device: str) -> None:
        from liandan.runs.layout import Layout
        from liandan.runtime.opened import open_run

        self.run = open_run(Layout(self.path))

    def decode_request(self, request, **kwargs: Any) -> bytes:  # without a type, which LitServe would read: a body of JSON
        return base64.b64decode(request["inputs"][0].partition(",")[2])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, x: list[bytes], **kwargs: Any) -> list[dict[str, Any]]:
        return self.run.predict(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {"predictions": [output]}


if __name__ == "__main__":
    api = Classifier(Path(sys.argv[1]), int(sys.argv[3]))
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True, timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, generate_client_file=False, log_level="warning")
