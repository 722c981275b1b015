"""Exported graphs beside the run they were made of: the same answers from the folder alone, proven, and refused where they are not."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import liandan
from liandan.deploy import artefact, quantize, worker
from liandan.deploy.artefact import Altered, Artefact, ArtefactError, fastest_proven, open_artefact, read_manifest, write_manifest
from liandan.deploy.export import ExportError, NotWorthIt
from liandan.deploy.graph import trace
from liandan.deploy.predictor import predict
from liandan.recipe import make_recipe
from liandan.tasks.image_classification import ImageClassification
from tests.unit.deploy.photos import CLASSES, photograph
from tests.zygote import Zygote

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytest.importorskip("nncf")

NAMES = ("onnx", "openvino", "onnx-int8", "openvino-int8")
STEPS = [{"name": "resize", "size": [32, 32]}, "to_float", {"name": "normalize", "mean": [0.5], "std": [0.5]}]


def write_photos(folder: Path, numbers: range, size: int = 40) -> Path:
    for label in CLASSES:
        (folder / label).mkdir(parents=True)
        for number in numbers:
            photograph(label, number, size).save(folder / label / f"图 {number}.png")
    return folder


def train(photos: Path, where: Path, **changes: Any) -> liandan.api.Run:
    values: dict[str, Any] = {
        "version": 1, "task": "image_classification", "name": "补丁",
        "data": {"train": str(photos), "val": {"hold_out": 0.25}, "workers": 0, "transforms": {"train": STEPS, "eval": STEPS}},
        "model": {"name": "liandan/lenet5", "norm": True},
        "optimizer": {"name": "adamw", "lr": 3e-3},
        "train": {"duration": {"steps": 30}, "batch_size": 12, "threads": 1},
        "evaluate": {"every": {"steps": 15}, "metrics": ["accuracy", "loss", "recall:猫"]},
        "run": {"dir": str(where)},
    }  # fmt: skip
    return liandan.train(make_recipe(values).with_values(changes))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("照片") / "全部", range(24))


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> liandan.api.Run:
    """A run, exported once in all forms; how fast they are is the machine's business, so nothing is refused."""
    made = train(photos, tmp_path_factory.mktemp("run") / "patches")
    made.rows = made.export(["onnx", "openvino"], quantize="int8", force=True)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def files_of(photos: Path) -> list[str]:
    return sorted(map(str, photos.rglob("*.png")))


def test_the_table_has_a_row_for_the_run_and_for_each_artefact(run: Any) -> None:
    assert [row["format"] for row in run.rows] == ["run", *NAMES]
    own = run.evaluate()["val/accuracy"]
    for row in run.rows:
        assert row["metric"] == "val/accuracy" and row["bytes"] > 1000 and set(row["latency_ms"]) == {"1", "16"}
        assert row["samples_per_second"] >= 1000 / row["latency_ms"]["1"]
        assert row["value"] == own or row["precision"] != "f32"
        assert row["precision"] == ("int8" if "int8" in row["format"] else "f32")
    floats, int8 = run.rows[1:3], run.rows[3:]
    for row, other in zip(floats, int8, strict=True):
        assert row["largest_difference"] < min(1e-4, other["largest_difference"])
    assert {folder.name for folder in run.layout.export("onnx").parent.iterdir()} == set(NAMES)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_other_programs_compute_the_same(run: Any, count: int) -> None:
    """The files, by the runtimes' own interfaces, against torch."""
    import openvino

    images = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))
    with torch.no_grad():
        wanted = run.opened.model(images).numpy()
    session = onnxruntime.InferenceSession(run.layout.export("onnx") / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"image": images.numpy()})
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    compiled = openvino.Core().compile_model(run.layout.export("openvino") / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled({"image": images.numpy()})["logits"], wanted, atol=1e-4)


def test_the_proof_is_what_can_be_measured_again(run: Any) -> None:
    for name, row in zip(NAMES, run.rows[1:], strict=True):
        folder = run.layout.export(name)
        facts = json.loads((folder / "artefact.json").read_text(encoding="utf-8"))
        proof = facts["proof"]
        assert proof["verified"] == [1, 2, 3] and proof["value"] == row["value"] and proof["latency_ms"] == row["latency_ms"]
        assert facts["varies"] == ["batch"] and facts["checkpoint"]["name"] == run.opened.checkpoint.name
        for file, entry in facts["files"].items():
            assert entry["sha256"] == hashlib.sha256((folder / file).read_bytes()).hexdigest()
        assert {"preprocessing.json", "labels.json"} < set(facts["files"])
        opened = open_artefact(folder)
        assert opened.evaluate()["val/accuracy"] == proof["value"]
        assert json.loads((folder / "evaluation" / "val" / "metrics.json").read_text())["samples"] == 12
        source, _ = run.opened.source()
        batch = run.opened.pipeline.samples(source, training=False).batch(np.arange(len(source)), None)
        with torch.no_grad():
            off = float((run.opened.model(batch["image"]) - opened.model(batch["image"])).abs().max())
        assert off <= proof["largest_difference"] * 1.01 + 1e-6


def test_a_folder_predicts_anywhere_as_its_run_does(zygote: Zygote, run: Any, photos: Path, tmp_path: Path) -> None:
    """Copied out of the run, by the command, past a file that is none; labels are the run's, probabilities as near as was proven."""
    bad = tmp_path / "坏.png"
    bad.write_bytes(b"no image")
    wanted = list(run.predict(files_of(photos)))
    for name in NAMES:
        folder = tmp_path / "别处" / name
        shutil.copytree(run.layout.export(name), folder)
        rows = list(predict(artefact.open_predictor(folder), [str(bad), str(photos)]))
        assert rows[0]["input"] == str(bad) and "error" in rows[0]
        allowed = read_manifest(folder)["proof"]["largest_difference"] + 1e-6
        for own, found in zip(wanted, rows[1:], strict=True):
            assert (found["input"], found["label"]) == (own["input"], own["label"])
            assert found["confidence"] == pytest.approx(own["confidence"], abs=allowed)
    child = zygote.run("predict", str(folder), str(photos / CLASSES[0]), str(bad), "--json", cwd=tmp_path)
    assert child.wait() == 1 and "1 could not be read" in child.text(), child.text()
    text = child.text()
    assert [row.get("label") for row in json.loads(text[text.index("[\n") : text.rindex("]") + 1])] == [CLASSES[0]] * 24 + [None]


@pytest.mark.parametrize("file", ["model.bin", "model.xml", "preprocessing.json", "labels.json", "artefact.json"])
def test_an_altered_file_is_refused(run: Any, tmp_path: Path, file: str) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(run.layout.export("openvino"), folder)
    content = bytearray((folder / file).read_bytes())
    place = content.index(b"0.") + 2 if file == "artefact.json" else len(content) // 2
    content[place] = content[place] ^ 1
    (folder / file).write_bytes(content)
    with pytest.raises(Altered, match=file):
        open_artefact(folder)
    (folder / file).unlink()
    with pytest.raises(ArtefactError, match=file):
        open_artefact(folder)


def test_a_refusal_ends_with_three_and_no_traceback(zygote: Zygote, run: Any, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(run.layout.export("onnx"), folder)
    (folder / "labels.json").write_text('["岩石", "猫"]', encoding="utf-8")
    child = zygote.run("predict", str(folder), str(photos), cwd=tmp_path)
    assert child.wait() == 3 and "labels.json" in child.text() and "Traceback" not in child.text()


def test_calibration_sees_the_training_split_alone(photos: Path, tmp_path: Path) -> None:
    """Training images are dark and validation images white: nothing bright is among what int8 is calibrated on, nor augmented."""
    for split, brightness in (("train", 90), ("val", 255)):
        for k, label in enumerate(CLASSES):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(6):
                pixels = np.full((32, 32, 3), brightness, np.uint8)
                pixels[:, :16] -= 10 * k + number
                Image.fromarray(pixels).save(tmp_path / split / label / f"{number}.png")
    augmented = ["random_invert", *STEPS]  # would make dark images bright
    changes = {"data.val": str(tmp_path / "val"), "data.transforms.train": augmented, "train.duration.steps": 2}
    made = train(tmp_path / "train", tmp_path / "run", **changes)
    samples = [sample["image"] for sample in quantize.calibration(made.opened)]
    brightest = (90 / 255 - 0.5) / 0.5
    assert len(samples) == 12 and max(float(image.max()) for image in samples) == pytest.approx(brightest, abs=1e-5)
    made.export("openvino", quantize="int8", force=True)
    import openvino

    model = openvino.Core().read_model(made.layout.export("openvino-int8") / "model.xml")
    image = model.input("image").get_node()
    (quantizer,) = {target.get_node() for target in image.output(0).get_target_inputs()}
    assert quantizer.get_type_name() == "FakeQuantize"
    high = float(quantizer.input(2).get_source_output().get_node().data.max())
    assert abs(high) < 1.0 - 1e-2, "a validation image is 1.0"


def test_the_fastest_proven_artefact(run: Any, tmp_path: Path) -> None:
    """Faster than the run, of its present weights, whole, not forced: of these the fastest, else none."""
    place = tmp_path / "run"
    shutil.copytree(run.path, place)
    layout = type(run.layout)(place)
    for name, milliseconds in zip(NAMES, (0.5, 0.4, 0.3, 0.2), strict=True):
        tell(layout.export(name), forced="", milliseconds=milliseconds)
    assert fastest_proven(layout) == layout.export("openvino-int8")
    _, predictor, told = worker.opened(place)
    assert isinstance(predictor, Artefact) and predictor.name == "openvino-int8"
    assert told == "openvino-int8: 0.20 ms an image, the run's own model 1.00 ms"
    tell(layout.export("openvino-int8"), forced="it is slower", milliseconds=0.2)
    assert fastest_proven(layout) == layout.export("onnx-int8")
    (layout.export("onnx-int8") / "labels.json").write_text("[]")
    assert fastest_proven(layout) == layout.export("openvino")
    tell(layout.export("openvino"), forced="", milliseconds=1.1)
    assert fastest_proven(layout) == layout.export("onnx")
    facts = read_manifest(layout.export("onnx"))
    other = {name: value for name, value in facts.items() if name not in ("files", "version")}
    write_manifest(layout.export("onnx"), {**other, "checkpoint": {**facts["checkpoint"], "sha256": "of other weights"}})
    assert fastest_proven(layout) is None
    opened, predictor, told = worker.opened(place)
    assert predictor is opened and told.startswith("the run's own model")


def tell(folder: Path, forced: str, milliseconds: float) -> None:
    """The artefact's manifest as if so many milliseconds had been measured, the run's own being 1."""
    facts = {name: value for name, value in read_manifest(folder).items() if name not in ("files", "version")}
    facts["proof"]["latency_ms"]["1"], facts["proof"]["own"]["latency_ms"]["1"] = milliseconds, 1.0
    write_manifest(folder, {**facts, "forced": forced})


def test_sizes_vary_where_the_model_allows_it(tmp_path: Path) -> None:
    """A convolutional network takes images of any size, a transformer with learned positions one."""
    for name, expected in (("resnet10t", ["batch", "height", "width"]), ("vit_tiny_patch16_224", ["batch"])):
        size = {"img_size": 64, "depth": 1} if "vit" in name else {}
        task = ImageClassification(None, ["a", "b"], {"in_chans": 3, "size": [64, 64]})
        model = timm.create_model(name, num_classes=2, **size).eval()  # pyright: ignore[reportArgumentType]
        graph = trace(task, model)
        assert graph.varies == expected, name
        from liandan.deploy import onnx_runtime

        onnx_runtime.write(graph, tmp_path)
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        images = torch.randn(3, 3, *((96, 160) if len(expected) > 1 else (64, 64)))
        with torch.no_grad():
            np.testing.assert_allclose(session.run(None, {"image": images.numpy()})[0], model(images).numpy(), atol=1e-4)


def test_texts_of_any_length(tmp_path: Path) -> None:
    short = {"train.threads": 1, "run.dir": str(tmp_path / "run")}
    run = liandan.train("text_classification/tiny", short)
    texts = ["很好", "房间很干净，服务员态度也很好，下次还会再来", "不好", "太差了！" * 12]
    wanted = list(run.predict(texts))
    for row in run.export(["onnx", "openvino"])[1:]:
        opened = open_artefact(Path(row["path"]))
        assert opened.facts["varies"] == ["batch", "length"]
        assert row["value"] == run.evaluate()["val/accuracy"]
        for own, found in zip(wanted, predict(opened, texts), strict=True):
            assert found["label"] == own["label"]
            assert found["confidence"] == pytest.approx(own["confidence"], abs=row["largest_difference"] + 1e-6)


def test_what_writes_token_by_token_is_sent_to_hf(tmp_path: Path) -> None:
    (tmp_path / "詩.txt").write_text("白日依山盡，黃河入海流。\n" * 40, encoding="utf-8")
    short = {"data.train": str(tmp_path / "詩.txt"), "train.duration.steps": 2, "evaluate.every.steps": 2, "train.threads": 1}
    run = liandan.train("language_model/tiny", {**short, "run.dir": str(tmp_path / "run")})
    with pytest.raises(ExportError, match="language_model is no graph .* format hf"):
        run.export(["onnx", "hf"])
    with pytest.raises(ExportError, match="int8 is for the formats onnx and openvino, not for hf"):
        run.export("hf", quantize="int8")
    assert not (run.path / "export").exists() or not list((run.path / "export").iterdir())


def test_a_run_without_its_data(tmp_path: Path) -> None:
    """A float artefact is still compared with the run, on drawn images; int8 has nothing to be calibrated on."""
    photos = write_photos(tmp_path / "photos", range(8))
    moved = train(photos, tmp_path / "run", **{"train.duration.steps": 2})
    shutil.rmtree(photos)
    _, row = moved.export("onnx")
    assert row["value"] is None and row["verified"] == [1, 2, 3] and Path(row["path"]).is_dir()
    with pytest.raises(ExportError, match="calibrated on the run's training split"):
        moved.export("onnx", tmp_path / "out", quantize="int8")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["openvino", "onnxscript", "nncf"])
def test_a_package_that_is_missing_is_named(run: Any, tmp_path: Path, monkeypatch: Any, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=rf"needs {package}.*pip install 'liandan\[deploy\]'"):
        run.export(["onnx", "openvino"], tmp_path / "out", quantize="int8")
    assert not (tmp_path / "out").exists()


def test_nothing_is_told_to_the_runtimes_makers(run: Any, photos: Path) -> None:
    """In a fresh process, for pytest itself silences NNCF."""
    script = (
        "import sys; from pathlib import Path; from liandan.deploy.artefact import open_artefact; from liandan.deploy import open_vino\n"
        "open_artefact(Path(sys.argv[1])).predict([sys.argv[2]]); import nncf\n"
        "assert sys.modules.get('openvino_telemetry') is None and not any(m.startswith('openvino_telemetry.') for m in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, str(run.layout.export("openvino")), files_of(photos)[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def test_int8_that_is_worse_is_refused_with_its_figures(zygote: Zygote, run: Any, tmp_path: Path) -> None:
    """A network so small that quantizing and back takes longer than it saves, and no loss allowed: refused, and nothing of it is left."""
    with pytest.raises(NotWorthIt, match=r"(?s)onnx-int8 is refused: .*--force keeps it") as refused:
        run.export("onnx", tmp_path / "out", quantize="int8", max_drop=0.0)
    own, floats, int8 = refused.value.rows
    slower = any(int8["latency_ms"][count] > floats["latency_ms"][count] for count in ("1", "16"))
    assert slower or int8["value"] < own["value"]
    assert int8["refused"] in str(refused.value) and "path" not in int8 and "path" in floats
    assert [folder.name for folder in (tmp_path / "out").iterdir()] == ["onnx"]
    child = zygote.run("export", str(run.path), "--to", "onnx", "--quantize", "int8", "--max-drop", "0", "--out", "再", cwd=tmp_path)
    assert child.wait() == 3 and "onnx-int8 is refused" in child.text() and "Traceback" not in child.text(), child.text()
    assert [folder.name for folder in (tmp_path / "再").iterdir()] == ["onnx"]


def row(format: str, one: float, many: float, value: float | None) -> dict[str, Any]:
    return {"format": format, "latency_ms": {"1": one, "16": many}, "value": value, "metric": "val/accuracy"}


@pytest.mark.parametrize(
    ("int8", "mode", "said"),
    [
        (row("openvino-int8", 1.0, 10.0, 0.900), "max", ""),
        (row("openvino-int8", 1.0, 10.0, 0.896), "max", ""),
        (row("openvino-int8", 1.0, 10.0, 0.894), "max", "is 0.8940, the run's 0.9000: 0.60 points lost, at most 0.5 are"),
        (row("openvino-int8", 1.0, 10.0, 0.904), "min", ""),
        (row("openvino-int8", 1.0, 10.0, 0.909), "min", "1.00 percent lost"),
        (row("openvino-int8", 2.5, 10.0, 0.900), "max", "at batch 1 it takes 2.5 ms, openvino 2 ms"),
        (row("openvino-int8", 1.0, 21.0, 0.900), "max", "at batch 16 it takes 21 ms, openvino 20 ms"),
        (row("openvino-int8", 1.0, 10.0, None), "max", "no validation data"),
    ],
)
def test_what_is_worth_having(int8: dict[str, Any], mode: str, said: str) -> None:
    reason = quantize.refusal(int8, row("openvino", 2.0, 20.0, 0.9), row("run", 4.0, 40.0, 0.9), mode, 0.5)
    assert said in reason and bool(said) == bool(reason)
