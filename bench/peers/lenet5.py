"""LeNet-5 as the usual script trains it: torchvision's dataset, ToTensor, a DataLoader. Prints {"seconds": of the second epoch}.

The model's file is liandan's, so that both sides train the same network; nothing else is.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from liandan.models.lenet5 import LeNet5


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("root")
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--workers", type=int, default=0)
    asked = options.parse_args()
    data = datasets.MNIST(asked.root, train=True, transform=transforms.ToTensor(), download=False)
    # persistent workers: the flag torch documents against starting them anew in every epoch
    loader = DataLoader(data, batch_size=asked.batch, shuffle=True, num_workers=asked.workers, persistent_workers=asked.workers > 0)
    model = LeNet5().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        for images, labels in loader:
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
