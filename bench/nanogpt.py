"""nanoGPT's configuration for a CPU: `liandan train` against a bare loop of the same model on the same tokens."""

from __future__ import annotations

import json
from typing import Any

from bench import inputs
from bench.measure import PEERS, alternately, best, fresh, listed
from bench.result import Line, Result, Setting

_NEAR, _LOSS = 0.97, 1.01


def measure(setting: Setting) -> Result:
    """Seconds of training and the held-out loss in nats a token, in fresh processes; the best of three, each side with three seeds."""
    context, batch, layers, width = 64, 12, setting.pick(4, 1), setting.pick(128, 32)
    steps = setting.pick(2000, 20)
    train, val = inputs.poems(setting.folder / "text", setting.pick(1_000_000, 20_000))
    train_tokens, val_tokens, vocabulary = inputs.tokens_of(train, val, context)
    seeds = {"peer": iter(range(100)), "liandan": iter(range(100))}

    def peer() -> dict[str, Any]:
        sizes = {"vocab": vocabulary, "steps": steps, "layers": layers, "width": width, "seed": next(seeds["peer"])}
        return fresh([PEERS / "nanogpt.py", train_tokens, val_tokens, *(f"--{k}={v}" for k, v in sizes.items())], setting.folder)

    def ours() -> dict[str, Any]:
        seed = next(seeds["liandan"])
        recipe = {
            "version": 1, "task": "language_model", "seed": seed,
            "data": {"train": str(train), "val": {"path": str(val)}, "text": {"tokenizer": "characters", "context": context}},
            "model": {"name": "liandan/gpt", "n_layer": layers, "n_head": 4, "width": width},
            "optimizer": {"name": "adamw", "lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.1},
            "schedule": {"name": "cosine", "min_lr_ratio": 0.1, "warmup": {"steps": min(100, steps // 2)}},
            "train": {"duration": {"steps": steps}, "batch_size": batch, "clip_norm": 1.0},
            "evaluate": {"every": {"steps": steps}}, "run": {"dir": str(setting.folder / f"run-{seed}")},
        }  # fmt: skip
        request = setting.folder / "request.json"
        request.write_text(json.dumps({"recipe": recipe, "marks": [], "stop": None, "resume": False}), encoding="utf-8")
        found = fresh(["-m", "bench.ours", request], setting.folder)
        seconds = found["evaluation"] - found["begin"]  # from before the first step to the first batch that was judged after the last
        return {"seconds": seconds, "loss": found["metrics"]["val/loss"], "precision": found["precision"], "wall": found["wall"]}

    found = alternately({"peer": peer, "liandan": ours}, min(3, setting.rounds))
    times = {side: [r["seconds"] for r in results] for side, results in found.items()}
    losses = {side: [r["loss"] for r in results] for side, results in found.items()}
    ratio = min(times["peer"]) / min(times["liandan"])
    mean = {side: sum(values) / len(values) for side, values in losses.items()}
    size = f"{layers} layers, {width} wide, context {context}, batch {batch}, {steps:,} steps, {vocabulary:,} characters"
    return Result(
        [
            Line(
                f"training time ({size})", f"{best(found['peer'], 'seconds'):.1f} s", f"{best(found['liandan'], 'seconds'):.1f} s", ratio,
                f"at least {_NEAR}", ratio >= _NEAR, "; ".join(f"{side} {listed(values)}" for side, values in times.items()),
            ),
            Line(
                "held-out loss, nats a token, mean over the seeds", f"{mean['peer']:.4f}", f"{mean['liandan']:.4f}",
                mean["peer"] / mean["liandan"], f"at most {_LOSS} of the peer's", mean["liandan"] <= _LOSS * mean["peer"],
                "; ".join(f"{side} {listed(values, 5)}" for side, values in losses.items()),
            ),
        ],
        [f"Best of three for its length. liandan's `auto` chose {found['liandan'][0]['precision']}; the peer computes in float32."],
    )  # fmt: skip
