"""LoRA fine-tuning of SmolLM2-135M on four full rows of 256 tokens: `liandan train` against TRL's SFTTrainer with its own fast flags."""

from __future__ import annotations

import json
from typing import Any

from bench import inputs
from bench.measure import PEERS, alternately, best, fresh, listed
from bench.result import Line, Result, Setting

_GOAL = 3.0
_TOKENS, _BATCH = 256, 4


def measure(setting: Setting) -> Result:
    """Tokens a second after the warm-up, and peak resident memory, in fresh processes."""
    from liandan import sources

    warmup, steps = setting.pick(3, 1), setting.pick(8, 2)
    model = sources.get("smollm2-135m-instruct")
    text, rows = inputs.conversations(setting.folder / "text", model, _BATCH * (warmup + steps), _TOKENS)

    def peer(*flags: str) -> dict[str, Any]:
        sizes = [f"--batch={_BATCH}", f"--steps={steps}", f"--warmup={warmup}", *flags]
        return fresh([PEERS / "trl_sft.py", model, rows, *sizes], setting.folder)

    def ours(compiled: bool | str) -> dict[str, Any]:
        recipe = {
            "version": 1, "task": "sft", "data": {"train": str(text), "val": None, "text": {"context": _TOKENS - 1}},
            "model": {"name": f"hf/{model}", "weights": "pretrained", "adapter": {"name": "lora", "rank": 8}},
            "optimizer": {"name": "adamw", "lr": 1e-4, "weight_decay": 0.0},
            "train": {"duration": {"steps": warmup + steps}, "batch_size": _BATCH, "clip_norm": 1.0, "log_every": 5, "compile": compiled},
            "checkpoint": {"every": {"steps": 10**6}}, "run": {"dir": str(setting.folder / f"run-{len(list(setting.folder.iterdir()))}")},
        }  # fmt: skip
        request = setting.folder / "request.json"
        marks = [warmup, warmup + steps]
        request.write_text(json.dumps({"recipe": recipe, "marks": marks, "stop": None, "resume": False}), encoding="utf-8")
        found = fresh(["-m", "bench.ours", request], setting.folder)
        began, ended = (found["steps"][str(mark)]["seconds"] for mark in marks)
        return {**found, "seconds": ended - began, "memory": found["peak"]}

    found = alternately(
        {"eager": peer, "compiled": lambda: peer("--compile"), "liandan": lambda: ours("auto"), "liandan compiled": lambda: ours(True)},
        setting.rounds,
    )
    tokens = steps * _BATCH * _TOKENS
    speed = {side: [tokens / r["seconds"] for r in results] for side, results in found.items()}
    memory = {side: min(r["memory"] for r in results) / 2**20 for side, results in found.items()}
    fastest = max(("eager", "compiled"), key=lambda side: max(speed[side]))
    wall = {side: best(results, "wall") for side, results in found.items()}
    smallest = min(("eager", "compiled"), key=lambda side: memory[side])
    lines: list[Line] = []
    for side, how in (("liandan", "as `auto` chose"), ("liandan compiled", "with train.compile: true")):
        ratio = max(speed[side]) / max(speed[fastest])
        lines.append(
            Line(
                f"LoRA of SmolLM2-135M, batch {_BATCH} x {_TOKENS}, {how}, tokens a second", f"{max(speed[fastest]):,.0f} ({fastest})",
                f"{max(speed[side]):,.0f}", ratio, f"at least {_GOAL:g}", ratio >= _GOAL,
                "; ".join(f"{name} {listed(values, 4)}" for name, values in speed.items()) if side == "liandan" else "",
            )
        )  # fmt: skip
    return Result(
        [
            *lines,
            Line(
                "the same, peak resident memory", f"{memory[smallest]:,.0f} MiB ({smallest})", f"{memory['liandan']:,.0f} MiB",
                memory[smallest] / memory["liandan"], "no more than the peer's", memory["liandan"] <= memory[smallest],
                "; ".join(f"{side} {value:,.0f} MiB" for side, value in memory.items()),
            ),
        ],
        [
            f"`auto` chose {found['liandan'][0]['precision']}, compile {str(found['liandan'][0]['compile']).lower()}; the whole process, "
            f"compiling, {warmup + steps} steps and a checkpoint, took {wall['liandan']:.0f} s, compiled {wall['liandan compiled']:.0f} s, "
            f"TRL's {wall['eager']:.0f} s, compiled {wall['compiled']:.0f} s.",
        ],
    )  # fmt: skip
