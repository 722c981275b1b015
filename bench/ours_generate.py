"""Text by liandan, greedy, batch 1, as `liandan chat` makes it. Prints what bench/peers/generate.py prints.

python -m bench.ours_generate FOLDER DTYPE PROMPT TOKENS TEXTS
"""

from __future__ import annotations

import json
import sys
import time

import torch

from liandan import models
from liandan.models.decoder import decoder
from liandan.models.sampling import GREEDY, generate
from liandan.models.weights import load_weights


def main() -> None:
    folder, dtype, prompt, tokens, texts = sys.argv[1:]
    model = models.build(f"hf/{folder}").eval()
    load_weights(model, folder)
    writer = decoder(model, torch.bfloat16, int8=True) if dtype == "int8" else decoder(model, getattr(torch, dtype))
    ids, seconds, made = torch.tensor([json.loads(prompt)]), [], []
    for _ in range(1 + int(texts)):
        started = time.perf_counter()
        walk = generate(writer.step, ids, int(tokens), GREEDY, context=writer.context, new_cache=writer.new_cache)
        made = [int(token) for token in walk]
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"ms": 1e3 * min(seconds[1:]) / int(tokens), "first": seconds[0], "tokens": made}))


if __name__ == "__main__":
    main()
