"""A Python config on the command line: trained as it is, converted, refused, and the flags of the script it was written for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liandan.cli.config_flags import meaning
from liandan.data.readers import read
from liandan.data.split import hold_out
from liandan.recipe import load_recipe
from tests.journeys import weights
from tests.unit.recipe.python_configs import CONFIG
from tests.zygote import Zygote

SMALL = [
    "model.name=timm/test_efficientnet", "data.transforms.train=[{name: random_resized_crop, size: [32, 32]}]",
    "data.transforms.eval=[{name: resize, size: [32, 32]}]", "data.workers=0", "train.threads=1",
]  # fmt: skip
CLASSES = ("花岗岩", "玄武岩", "basalt tuff")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the config and photos of three classes, seven each, so that no batch of four is full at the end."""
    shutil.copy(CONFIG, tmp_path / CONFIG.name)
    noise = np.random.default_rng(0)
    for k, name in enumerate(CLASSES):
        (tmp_path / "照片" / name).mkdir(parents=True)
        for i in range(7):
            pixels = noise.integers(0, 90, (40, 48, 3))
            pixels[..., k] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "照片" / name / f"图 {i}.jpg")
    return tmp_path


def test_the_config_trains_as_it_is_and_goes_on(zygote: Zygote, folder: Path) -> None:
    words = ["train", CONFIG.name, "data.train=照片", "model.weights=none", *SMALL, "run.dir=run"]
    child = zygote.run(*words, "train.duration.epochs=1", "--split-validation", "--ratio", "0.4", "--seed", "3", cwd=folder)
    assert child.wait() == 0, child.text()
    for said in (
        "--seed 3: seed=3",
        "--split-validation --ratio 0.4: data.val={hold_out: 0.4, stratify: true}",
        "WARNING: backbone is frozen with random weights",
        "efficientnet_b4.py:7  model_cfg.head.num_classes=11",
    ):
        assert said in child.text(), child.text()
    run = folder / "run"
    data = json.loads((run / "data.json").read_text(encoding="utf-8"))
    # there, the split is one run of lines, and the tail of validation that fills no batch is never judged
    assert [sum(f"{name}/" in held for held in data["held_out"]) for name in CLASSES] == [3, 3, 3]
    assert json.loads((run / "evaluation/val/metrics.json").read_text(encoding="utf-8"))["samples"] == 9
    recipe = load_recipe(run / "recipe.yaml")
    assert recipe.seed == 3 and recipe.model.freeze == ("backbone",) and "training" not in recipe.document.notes
    before = weights(run)
    again = zygote.run(
        "train", CONFIG.name, "data.train=照片", "model.weights=none", *SMALL, "train.duration.epochs=2", "--split-validation", "--ratio",
        "0.4", "--seed", "3", "--resume-from", "run/checkpoints/step-00000003", cwd=folder,
    )  # fmt: skip
    assert again.wait() == 0, again.text()
    assert "--resume-from run/checkpoints/step-00000003: run.dir=run --resume" in again.text() and "resumed at step 3" in again.text()
    after = weights(run)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"classifier.weight", "classifier.bias"}, "the backbone is frozen, its running statistics too"


def test_every_sample_can_be_held_out_and_a_seed_holds_out_the_same_again(tmp_path: Path) -> None:
    """There, a part of 0.3 is one of three runs of lines: the last thirteen of 103 are never judged, and each start draws another run."""
    for i in range(103):
        file = tmp_path / "rock" / f"{i}.jpg" if i % 2 else tmp_path / "ore" / f"{i}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"only names are looked at")
    source = read(tmp_path, "class_folders")
    held = [hold_out(source, 0.3, True, seed)[2] for seed in range(30)]
    assert {name for names in held for name in names} == {source.name(i) for i in range(103)}
    assert hold_out(source, 0.3, True, 7)[2] == held[7] and {len(names) for names in held} == {31}


def test_the_yaml_of_a_config_is_a_recipe_without_faults(zygote: Zygote, folder: Path) -> None:
    child = zygote.run("recipe", "convert", CONFIG.name, cwd=folder)
    assert child.wait() == 0, child.text()
    (folder / "rocks.yaml").write_text(child.text(), encoding="utf-8")
    assert load_recipe(folder / "rocks.yaml") == load_recipe(folder / CONFIG.name)
    assert child.text().startswith("# efficientnet_b4.py:18  train_pipeline[1]: efficientnet_style")
    for target in ("rocks.yaml", CONFIG.name):
        checked = zygote.run("recipe", "check", target, cwd=folder)
        assert checked.wait() == 0 and "no faults" in checked.text(), checked.text()


def test_every_backbone_type_is_explained(zygote: Zygote, tmp_path: Path) -> None:
    child = zygote.run("recipe", "convert", "EfficientNet", "--json", cwd=tmp_path)
    assert {"arch": "b4", "model": "timm/tf_efficientnet_b4"} in json.loads(child.text())["variants"]
    assert "neither timm nor torchvision" in zygote.run("recipe", "convert", "HorNet", cwd=tmp_path).text()
    wrong = zygote.run("recipe", "convert", "EfficentNet", cwd=tmp_path)
    assert wrong.wait() == 2 and 'did you mean "EfficientNet"' in wrong.text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "efficientnet_b4.py:48  model.weights"),  # the file is not on this machine
        (["model.weights=none", "data.train=nowhere"], "nowhere"),
        (["--ratio", "0.3"], "--split-validation, which is not given"),
        (["--resume-from", "Last_Epoch010.pth"], "model.weights=Last_Epoch010.pth"),
        (["--resume-from", "nowhere"], "the directory of a run"),
    ],
)
def test_mistakes_are_told(zygote: Zygote, folder: Path, words: list[str], said: str) -> None:
    child = zygote.run("train", CONFIG.name, "data.train=照片", *SMALL, *words, cwd=folder)
    assert child.wait() == 2, child.text()
    assert " ".join(said.split()) in " ".join(child.text().split()) and "Traceback" not in child.text(), child.text()


def test_a_config_that_would_run_something_is_refused(zygote: Zygote, folder: Path) -> None:
    text = "import os\nos.system('touch pwned')\n" + CONFIG.read_text(encoding="utf-8")
    (folder / "evil.py").write_text(text, encoding="utf-8")
    for verb in (["train"], ["recipe", "check"], ["recipe", "convert"]):
        child = zygote.run(*verb, "evil.py", cwd=folder)
        assert child.wait() == 2 and "evil.py:1" in child.text() and "evil.py:2" in child.text(), child.text()
    assert not (folder / "pwned").exists()


def flags(target: str = "c.py", **given: object) -> tuple[list[str], list[str]]:
    nothing = dict.fromkeys(("resume_from", "seed", "device", "gpu_id", "ratio", "local_rank"))
    found = meaning(target, **{**nothing, "split_validation": False, "deterministic": False, **given})  # pyright: ignore
    return found.overrides, [f"{flag}: {text}" for flag, text in found.said]


def test_each_flag_says_what_it_stands_for() -> None:
    assert flags() == ([], [])
    assert flags(device="cpu") == (["device=cpu"], ["--device cpu: device=cpu"])
    assert flags(gpu_id=1) == (["device=cuda:1"], ["--gpu-id 1: device=cuda:1"])
    assert flags(gpu_id=1, device="cpu")[0] == ["device=cpu"]
    assert flags(split_validation=True)[0] == ["data.val={hold_out: 0.2, stratify: true}"]
    for nothing in (flags(deterministic=True), flags(local_rank=0)):
        assert nothing[0] == [] and "no key" in nothing[1][0]


def test_the_flags_exist_only_with_a_python_config(zygote: Zygote, tmp_path: Path) -> None:
    for given in (["--seed", "3"], ["--deterministic"], ["--local-rank", "0"], ["--gpu-id", "0"]):
        child = zygote.run("train", "image_classification/tiny", *given, cwd=tmp_path)
        assert child.wait() == 2 and "with a Python config" in " ".join(child.text().split()), child.text()
    assert not (tmp_path / "runs").exists()
