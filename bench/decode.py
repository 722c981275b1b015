"""Writing text with SmolLM2-135M, batch 1, greedy: liandan's decoder against transformers' `generate` with its own fast flags."""

from __future__ import annotations

import functools
import json
from typing import Any

from bench.measure import PEERS, alternately, best, fresh, listed
from bench.result import Line, Result, Setting
from liandan import sources

_GOAL = 4.0
_ASKED = "Tell me what the moon is made of, and how we know."


def measure(setting: Setting) -> Result:
    """Milliseconds a token in fresh processes, the reading of the prompt in it; the best of several texts and of all rounds."""
    from transformers import AutoTokenizer

    folder = sources.get("smollm2-135m-instruct")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    question = [{"role": "user", "content": _ASKED}]
    prompt: Any = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=True)["input_ids"]
    tokens, texts = setting.pick(96, 8), setting.pick(2, 1)

    def peer(dtype: str, cache: str) -> dict[str, Any]:
        return fresh(
            [PEERS / "generate.py", folder, f"--dtype={dtype}", f"--cache={cache}", f"--prompt={json.dumps(prompt)}", f"--tokens={tokens}",
             f"--texts={texts}"], setting.folder,
        )  # fmt: skip

    def ours(dtype: str) -> dict[str, Any]:
        return fresh(["-m", "bench.ours_generate", folder, dtype, json.dumps(prompt), str(tokens), str(texts)], setting.folder)

    lines: list[Line] = []
    same = True
    for dtype in ("float32", "bfloat16", "int8"):
        theirs = "bfloat16" if dtype == "int8" else dtype
        sides = {name: functools.partial(peer, theirs, name) for name in ("dynamic", "static")}
        found = alternately({**sides, "liandan": functools.partial(ours, dtype)}, setting.rounds)
        times = {name: best(results, "ms") for name, results in found.items()}
        fastest = min(sides, key=lambda name: times[name])
        ratio = times[fastest] / times["liandan"]
        same &= dtype != "float32" or all(r["tokens"] == found["liandan"][0]["tokens"] for results in found.values() for r in results)
        lines.append(
            Line(
                f"{tokens} tokens, {dtype} against {theirs}, the {fastest} cache", f"{1e3 / times[fastest]:.1f} tokens/s",
                f"{1e3 / times['liandan']:.1f} tokens/s", ratio, f"at least {_GOAL:g}", ratio >= _GOAL,
                "; ".join(f"{name} {listed([r['ms'] for r in results])} ms" for name, results in found.items()),
            )
        )  # fmt: skip
    return Result(lines, [f"In float32 all sides wrote {'the same tokens' if same else 'DIFFERENT tokens'} in every round."])
