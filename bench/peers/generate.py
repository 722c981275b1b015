"""Text by transformers' `generate`, greedy, batch 1. Prints {"ms": a token, the best of several texts, "first": seconds of the first text,
"tokens": [...]}.

Its documented means to be faster are flags here: the type the weights are loaded in, a static cache, and torch.compile of the forward
pass, which `generate` does by itself on an accelerator and on a CPU when `_compile_all_devices` is set.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from transformers import AutoModelForCausalLM, CompileConfig


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder")
    options.add_argument("--dtype", default="float32")
    options.add_argument("--cache", default="dynamic", choices=["dynamic", "static", "compiled"])
    options.add_argument("--prompt", type=json.loads)
    options.add_argument("--tokens", type=int)
    options.add_argument("--texts", type=int)
    asked = options.parse_args()
    model = AutoModelForCausalLM.from_pretrained(asked.folder, dtype=getattr(torch, asked.dtype)).eval()
    known = {"max_new_tokens": asked.tokens, "min_new_tokens": asked.tokens, "do_sample": False, "pad_token_id": 0}
    if asked.cache != "dynamic":
        known["cache_implementation"] = "static"
    if asked.cache == "compiled":
        known["compile_config"] = CompileConfig(fullgraph=False, mode="default")
        known["compile_config"]._compile_all_devices = True
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
