"""python -m bench.linear_probe WEIGHTS RUN...: what fine-tuning gained over scikit-learn's logistic regression on frozen features.

For each run of image classification: the accuracy on its held-out part, that of the probe on the same split, and that of always guessing
the largest class. The probe learns from the penultimate layer of the run's network with the weights of a file, on the training images as
evaluation sees them; its regularization is chosen by five-fold cross-validation on the training part.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import liandan
from liandan import models
from liandan.data.loader import Loader
from liandan.models.weights import load_weights
from liandan.runtime.assemble import read_splits

Features = tuple[np.ndarray, np.ndarray]  # float32 (samples, features), int64 (samples,)


def main() -> None:
    weights, runs = Path(sys.argv[1]), sys.argv[2:]
    print("| run | held out | fine-tuned | linear probe | largest class |")
    print("|---|---|---|---|---|")
    for name in runs:
        run = liandan.open_run(name)
        features = frozen_features(run, weights)
        held = features["val"][1]
        guess = (held == np.bincount(features["train"][1]).argmax()).mean()
        found = run.evaluate(split="val")["val/accuracy"]
        print(f"| {name} | {len(held)} | {found:.1%} | {probed(features):.1%} | {guess:.1%} |", flush=True)


@torch.no_grad()
def frozen_features(run: liandan.api.Run, weights: Path) -> dict[str, Features]:
    """{split: features and labels} of a run's training and validation part by its network (one of timm's) with the weights of a file."""
    opened: Any = run.opened
    network: Any = models.build(opened.recipe.model.name).eval()
    load_weights(network, weights)
    splits, found = read_splits(opened.recipe), {}
    for split in ("train", "val"):
        samples = opened.pipeline.samples(getattr(splits, split), training=False)
        rows, labels = [], []
        for batch in Loader(samples, 0).evaluation(32):
            rows.append(network.forward_head(network.forward_features(batch["image"]), pre_logits=True).numpy())
            labels.append(batch["label"].numpy())
        found[split] = np.concatenate(rows), np.concatenate(labels)
    return found


def probed(features: dict[str, Features]) -> float:
    """Accuracy on the validation part of a logistic regression on the training part."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    strengths = {"C": np.logspace(-5, 1, 7).tolist()}
    probe = make_pipeline(StandardScaler(), GridSearchCV(LogisticRegression(max_iter=2000), strengths, cv=5))
    return float(probe.fit(*features["train"]).score(*features["val"]))


if __name__ == "__main__":
    main()
