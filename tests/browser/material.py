"""What the two runs learn from: pieces of scikit-learn's two photographs, and a handful of questions with their answers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# where the docs' screenshots go, when they are asked for
PICTURES = Path(__file__).parents[2] / "docs/pictures" if os.environ.get("LIANDAN_PICTURES") else None
# a class is called what a folder is called, and that can be anything; the docs' pictures are spared it
ODD = "<script>alert('x')<script>" if PICTURES is None else "天空 sky"
# a model that learns in a second, or for the pictures one that has learned where to look
QUICK, SEEING = {"name": "liandan/lenet5", "norm": True}, {"name": "timm/resnet18", "weights": "none"}
SIZE, MODEL, STEPS = (32, QUICK, 40) if PICTURES is None else (128, SEEING, 60)
FLOWER, TEMPLE = "花 flower", "寺庙 temple"
STRANGER = "http://192.0.2.1/spy.png"  # an address for documentation: nobody has it
ANSWERS = {
    "什么是学习率？": "学习率是每一步参数移动的大小。太大，损失会跳动；太小，训练很慢。",
    "什么是过拟合？": "过拟合是模型记住了训练数据，却不会判断没见过的数据。看验证集的损失就知道。",
    "What is a learning rate?": "How far the parameters move in one step. Too large and the loss jumps; too small and training crawls.",
    "What is an epoch?": "One pass over all of the training data.",
    "为什么要留出验证集？": "留出来的题目，才考得出真本事。",
    "What is a batch?": "The samples whose mean gradient makes one step.",
    "Draw me a picture.": f"Look: ![a picture]({STRANGER}) <img src={STRANGER}> that was it.",
}


def photographs(folder: Path) -> None:
    """folder/<class>/*.jpg, pieces of a photograph each."""
    from sklearn.datasets import load_sample_images

    temple, flower = load_sample_images().images
    places = {TEMPLE: (temple, 90, 427), FLOWER: (flower, 60, 400), ODD: (temple, 0, 120)}
    draw = np.random.default_rng(0)
    for name, (image, first, last) in places.items():
        (folder / name).mkdir()
        for number in range(16):
            size = int(draw.integers(100, min(200, last - first)))
            top, left = draw.integers(first, last - size + 1), draw.integers(0, image.shape[1] - size)
            Image.fromarray(image[top : top + size, left : left + size]).save(folder / name / f"{number}.jpg")


def photo(path: Path) -> Path:
    """The whole photograph of the flower, as a JPEG."""
    from sklearn.datasets import load_sample_images

    Image.fromarray(load_sample_images().images[1]).save(path, quality=92)
    return path


def answers(path: Path) -> None:
    """The questions, each several times alone and once behind each other one, as rows of JSON."""
    rows: list[dict[str, Any]] = [{"instruction": question, "output": answer} for _ in range(6) for question, answer in ANSWERS.items()]
    rows += [
        {"instruction": question, "output": answer, "history": [[before, ANSWERS[before]]]}
        for before in ANSWERS for question, answer in ANSWERS.items() if before != question
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
