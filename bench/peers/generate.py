"""Text by transformers' `generate`, greedy, batch 1. Prints {"ms": a token, the best of several texts, "first": seconds of the first text,
"tokens": [...]}.

Its documented means to be faster on a CPU are flags here: the type the weights are loaded in, and a static cache. It compiles the forward
pass of a static cache by itself on accelerators alone.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder")
    options.add_argument("--dtype", default="float32")
    options.add_argument("--cache", default="dynamic", choices=["dynamic", "static"])
    options.add_argument("--prompt", type=json.loads)
    options.add_argument("--tokens", type=int)
    options.add_argument("--texts", type=int)
    asked = options.parse_args()
    model: Any = AutoModelForCausalLM.from_pretrained(asked.folder, dtype=getattr(torch, asked.dtype)).eval()
    known: dict[str, Any] = {"max_new_tokens": asked.tokens, "min_new_tokens": asked.tokens, "do_sample": False, "pad_token_id": 0}
    if asked.cache != "dynamic":
        known["cache_implementation"] = "static"
    prompt = torch.tensor([asked.prompt])
    seconds, made = [], prompt
    for _ in range(1 + asked.texts):
        started = time.perf_counter()
        made = model.generate(prompt, attention_mask=torch.ones_like(prompt), **known)
        seconds.append(time.perf_counter() - started)
    tokens = made[0, prompt.shape[1] :].tolist()
    print(json.dumps({"ms": 1e3 * min(seconds[1:]) / asked.tokens, "first": seconds[0], "tokens": tokens}))


if __name__ == "__main__":
    main()
