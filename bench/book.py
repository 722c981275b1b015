"""python -m bench.book [recipes]: the book's small networks on Fashion-MNIST over several seeds, beside what its notebooks gave.

Each run is `liandan train image_classification/<recipe> seed=<seed>` with one thread, in build/book/<recipe>-<seed>; one that is there
already is not made again. Prints the table of docs/reproductions.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from bench.measure import ROOT, say

KEPT = ROOT / "build" / "book"
# test accuracy of the last epoch over the book's stored executions: 10th percentile, median, 90th percentile; how many executions
BOOK = {
    "softmax_regression": ("softmax regression", "0.825 \\| 0.832 \\| 0.834", 83),
    "mlp": ("perceptron, 256 hidden", "0.832 \\| 0.847 \\| 0.853", 63),
    "mlp_dropout": ("perceptron, 256-256, dropout", "0.833 \\| 0.856 \\| 0.867", 80),
    "lenet": ("LeNet, sigmoid", "0.781 \\| 0.808 \\| 0.822", 128),
    "bn_lenet": ("LeNet with BatchNorm", "0.766 \\| 0.843 \\| 0.873", 85),
    "lenet_cosine": ("LeNet, ReLU, cosine, 30 epochs", "median 0.899", 14),
}


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.book", description="The book's small networks beside its own figures.")
    options.add_argument("recipes", nargs="*", metavar="recipe", help=f"of: {', '.join(BOOK)}; all without one")
    options.add_argument("--seeds", type=int, default=5)
    asked = options.parse_args()
    found = {name: [run(name, seed) for seed in range(asked.seeds)] for name in asked.recipes or BOOK}
    print("| recipe | network | runs | test accuracy: lowest, median, highest | the book's p10 \\| median \\| p90 | of | examples/s |")
    print("|---|---|---|---|---|---|---|")
    for name, runs in found.items():
        title, theirs, executions = BOOK[name]
        accuracy = sorted(one["accuracy"] for one in runs)
        figures = " ".join(f"{value:.3f}" for value in (accuracy[0], statistics.median(accuracy), accuracy[-1]))
        speed = max(one["speed"] for one in runs)
        print(f"| {name} | {title} | {len(runs)} | {figures} | {theirs} | {executions} | {speed:,.0f} |")


def run(recipe: str, seed: int) -> dict[str, float]:
    """{test accuracy, examples/s of the fastest epoch} of one run, made if it is not there."""
    folder = KEPT / f"{recipe}-{seed}"
    judged = folder / "evaluation" / "test" / "metrics.json"
    if not judged.exists():
        words = [f"image_classification/{recipe}", f"seed={seed}", "train.threads=1", f"run.dir={folder}", "--resume", "--quiet"]
        subprocess.run([sys.executable, "-m", "liandan", "train", *words], check=True)
    accuracy = json.loads(judged.read_text(encoding="utf-8"))["accuracy"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    say(f"{recipe} seed {seed}: {accuracy:.4f} after {rows[-1]['seconds']:.0f} s")
    return {"accuracy": accuracy, "speed": fastest(rows, 60_000)}


def fastest(rows: list[dict[str, Any]], samples: int) -> float:
    """Examples a second of the fastest stretch of at least an epoch, of all that a step takes, waiting for data included."""
    speeds = [0.0]
    for start in rows:
        end = next((row for row in rows if row["epoch"] >= start["epoch"] + 1), None)
        if end is not None:
            speeds.append((end["epoch"] - start["epoch"]) * samples / (end["seconds"] - start["seconds"]))
    return max(speeds)


if __name__ == "__main__":
    main()
