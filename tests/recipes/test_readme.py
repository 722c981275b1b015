"""Every command and program of the READMEs (both show the same), in their order, on photographs and in a folder of one's own."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
from PIL import Image

from tests.zygote import ROOT, Zygote

# a reader waits for minutes, a test need not: the same commands, fewer steps
BRIEF = ["train.duration.steps=4", "evaluate.every.steps=4", "checkpoint.every.steps=4", "schedule={name: constant}", "train.threads=1"]


def blocks(readme: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), flags=re.S)


def photographs(folder: Path) -> None:
    """photos/<class>/*.jpg and new/*.jpg: scikit-learn's two photographs, cut in pieces; Chinese class names."""
    from sklearn.datasets import load_sample_images

    seed = np.random.default_rng(0)
    for name, image in zip(("花", "寺庙"), load_sample_images().images, strict=True):
        (folder / "photos" / name).mkdir(parents=True)
        (folder / "new").mkdir(exist_ok=True)
        for i in range(14):
            top, left = seed.integers(0, image.shape[0] - 160), seed.integers(0, image.shape[1] - 160)
            piece = Image.fromarray(image[top : top + 160, left : left + 160])
            piece.save(folder / "photos" / name / f"{i}.jpg" if i < 12 else folder / "new" / f"{name}{i}.jpg")


def test_every_command_works(zygote: Zygote, tmp_path: Path) -> None:
    photographs(tmp_path)
    (recipe,) = blocks("README.md", "yaml")
    (tmp_path / "rocks.yaml").write_text(recipe, encoding="utf-8")
    commands = [line for block in blocks("README.md", "console") for line in block.splitlines() if line.startswith("liandan ")]
    assert len(commands) >= 15
    for command in commands:
        words = shlex.split(command)[1:]
        if words[0] == "train":
            brief = [b for b in BRIEF if not any(w.split("=")[0] == b.split("=")[0] for w in words)]
            flags = [w for w in words if w.startswith("--")]
            words = [*(w for w in words if not w.startswith("--")), *brief, *flags]
        child = zygote.run(*words, cwd=tmp_path)
        assert child.wait() == 0, f"{command}\n{child.text()}"
        assert child.text().strip(), f"{command} said nothing"


def test_the_two_readmes_show_the_same() -> None:
    for kind in ("console", "yaml", "python"):
        assert blocks("README.md", kind) == blocks("README.zh-CN.md", kind)


def test_the_python_program_works(zygote: Zygote, tmp_path: Path) -> None:
    photographs(tmp_path)
    (tmp_path / "rocks.yaml").write_text(blocks("README.md", "yaml")[0], encoding="utf-8")
    (program,) = blocks("README.md", "python")
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    child = zygote.run(cwd=tmp_path, before=["tests.recipes.programs:run_program"])
    assert child.wait() == 0, child.text()
    assert "val/accuracy" in child.text() and "'label'" in child.text()
