"""`liandan data check | stats | split | show` as commands: what they print, what they write, how they end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from liandan.data.readers import read
from liandan.runtime.preview import first_samples
from tests.unit.data.tables import write
from tests.zygote import Zygote


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Squares of scikit-learn's two photographs in two classes with Chinese names."""
    for name, photo in zip(("寺庙", "花"), load_sample_images().images, strict=True):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for n, (top, left) in enumerate((t, s) for t in range(0, 360, 72) for s in range(0, 576, 72)):
            Image.fromarray(photo[top : top + 72, left : left + 72]).save(tmp_path / "photos" / name / f"图 {n:02d}.png")
    return tmp_path / "photos"


def said(zygote: Zygote, *words: str, cwd: Path, code: int = 0) -> str:
    child = zygote.run(*words, cwd=cwd)
    assert child.wait() == code, child.text()
    return child.text()


def test_check_of_a_recipe_finds_leaks(zygote: Zygote, tmp_path: Path, squares: Path) -> None:
    (tmp_path / "val").mkdir()
    for name in ("寺庙", "花"):
        (tmp_path / "val" / name).mkdir()
        shutil.move(squares / name / "图 03.png", tmp_path / "val" / name / "a.png")
    words = ("data", "check", "photos", "data.val=val")
    assert said(zygote, *words, cwd=tmp_path).count("no faults") == 2
    Image.open(squares / "花/图 07.png").save(tmp_path / "val/花/b.jpg", quality=60)
    out = said(zygote, *words, cwd=tmp_path, code=1)
    assert "also in train, looks alike  花/b.jpg = 花/图 07.png" in out
    reports = json.loads(said(zygote, *words, "--json", cwd=tmp_path, code=1))
    assert reports["train"]["faults"] == [] and [row["how"] for row in reports["val"]["leaks"]] == ["looks alike"]


def test_stats(zygote: Zygote, tmp_path: Path, squares: Path) -> None:
    (squares / "花/图 00.png").unlink()
    found = json.loads(said(zygote, "data", "stats", "photos", "--plot", "bars.png", "--json", cwd=tmp_path))
    assert found["classes"] == {"寺庙": 40, "花": 39} and found["modes"] == {"PNG RGB": 79} and found["width"] == [72, 72, 72]
    with Image.open(tmp_path / "bars.png") as drawn:
        assert drawn.format == "PNG" and drawn.width > 300
    out = said(zygote, "data", "stats", "photos", "data.val={hold_out: 0.25}", cwd=tmp_path)
    rows = [line.split() for line in out.splitlines()]
    assert ["花", "29", "10", "49.2%"] in rows and "寺庙" in out and "as even as 2.0 equal ones" in out


def test_split_writes_lists_that_are_read_back(zygote: Zygote, tmp_path: Path, squares: Path) -> None:
    words = ("data", "split", "photos", "seed=3", "data.val.hold_out=0.25")
    names = json.loads(said(zygote, *words, "--out", "划分", "--json", cwd=tmp_path))["splits"]
    lists = tmp_path / "划分"
    parts = {split: read(lists / f"{split}.txt", classes="classes.txt") for split in ("train", "val")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 60, "val": 20}
    for split, part in parts.items():
        assert [part.name(i) for i in range(len(part))] == [f"../photos/{name}" for name in names[split]]
        assert [part.labels[part.target(i)] for i in range(len(part))] == [name.split("/")[0] for name in names[split]]
    out = said(zygote, "data", "check", "划分/train.txt", "data.train.classes=classes.txt", "data.val=划分/val.txt", cwd=tmp_path)
    assert out.count("no faults") == 2
    assert "holds train.txt, val.txt, classes.txt already" in said(zygote, *words, "--out", "划分", cwd=tmp_path, code=2)


def test_split_of_several_classes_is_a_table(zygote: Zygote, tmp_path: Path, squares: Path) -> None:
    rows = [f"photos/{name}/图 {n:02d}.png,{name}{'|晴' if n % 4 == 0 else ''}" for name in ("寺庙", "花") for n in range(40)]
    (tmp_path / "a.csv").write_text("path,tags\n" + "\n".join(rows) + "\n", encoding="utf-8")
    out = said(zygote, "data", "split", "a.csv", "data.train.label=tags", "data.train.separator=|", "--out", "lists", cwd=tmp_path)
    assert [line.split() for line in out.splitlines()][1:4] == [["寺庙", "32", "8"], ["晴", "16", "4"], ["花", "32", "8"]]
    val = read(tmp_path / "lists/val.csv", label=["寺庙", "晴", "花"], multi_label=True)
    assert len(val) == 16 and val.targets.sum(axis=0).tolist() == [8, 4, 8] and val.image(0).shape == (3, 72, 72)


def test_split_is_the_one_of_the_run(zygote: Zygote, tmp_path: Path, squares: Path) -> None:
    held = json.loads(said(zygote, "data", "split", "photos", "seed=5", "--json", cwd=tmp_path))["splits"]["val"]
    brief = ["seed=5", "model={name: liandan/lenet5}", "train.duration={steps: 1}", "schedule={name: constant}", "run.dir=run"]
    said(zygote, "train", "photos", *brief, "train.batch_size=4", "data.workers=0", cwd=tmp_path)
    assert json.loads((tmp_path / "run/data.json").read_text(encoding="utf-8"))["held_out"] == held


def test_show_draws_what_the_model_sees(zygote: Zygote, tmp_path: Path) -> None:
    out = said(zygote, "data", "show", "image_classification/tiny", "--count", "12", "--out", "图.png", cwd=tmp_path)
    assert out.strip().endswith("图.png")
    with Image.open(tmp_path / "图.png") as drawn:
        pixels = np.asarray(drawn.convert("L"))
    assert pixels.shape[0] > 3 * 112 and (pixels < 100).mean() > 0.1  # digits on black, enlarged


def test_what_is_shown_are_the_pixels_of_the_first_batch(tmp_path: Path) -> None:
    """Normalization is undone exactly: without noise the files' own bytes come back, in the order of the run."""
    from liandan.data.order import Order
    from liandan.recipe import make_recipe

    images, targets = load_digits(return_X_y=True)
    for i in range(40):
        folder = tmp_path / f"数字{targets[i]}"
        folder.mkdir(exist_ok=True)
        Image.fromarray((images[i] * 15).astype(np.uint8).reshape(8, 8)).save(folder / f"{i}.png")
    recipe = make_recipe({
        "task": "image_classification", "seed": 7, "model": {"name": "liandan/lenet5"}, "train": {"batch_size": 16},
        "data": {"train": str(tmp_path), "val": None, "transforms": {"train": [], "eval": []}},
    })  # fmt: skip
    shown, captions = first_samples(recipe, 20)
    source = read(tmp_path)
    order = np.concatenate([indices for indices, _ in Order(40, 16, 7).steps(0, 2)])[:20]
    assert captions == [source.labels[source.target(i)] for i in order]
    assert all(np.array_equal(shown[k, :, :, 0], source.image(i, 1)[0].numpy()) for k, i in enumerate(order))


QUESTIONS = [{"instruction": f"第{i}问：{'春夏秋冬'[i % 4]}天怎么样？", "output": f"答{i}：" + "很好。" * (i % 5)} for i in range(40)]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write(tmp_path / "问答.jsonl", QUESTIONS)


def test_check_of_conversations(zygote: Zygote, tmp_path: Path, questions: Path) -> None:
    out = said(zygote, "data", "check", "问答.jsonl", "--plot", "长.png", cwd=tmp_path)
    assert "the context holds 256" in out and "▇" in out and "no faults" in out
    with Image.open(tmp_path / "长.png") as drawn:
        assert drawn.format == "PNG"
    found = json.loads(said(zygote, "data", "check", "问答.jsonl", "data.text.context=8", "--json", cwd=tmp_path, code=1))
    assert found["tokens"]["context"] == 8 and found["tokens"]["cut"] == 40 and sum(found["tokens"]["histogram"].values()) == 40
    questions.write_text(questions.read_text(encoding="utf-8") + '\n{"instruction": "a"}\nno\n', encoding="utf-8")
    out = said(zygote, "data", "check", "问答.jsonl", cwd=tmp_path, code=1)
    assert '问答.jsonl:41: "output": expected text' in out and "问答.jsonl:42: expected one JSON object a line" in out
    assert 'one looks like {"instruction": "question"' in out and "Traceback" not in out


def test_statistics_and_splits_of_conversations(zygote: Zygote, tmp_path: Path, questions: Path) -> None:
    out = said(zygote, "data", "stats", "问答.jsonl", cwd=tmp_path)
    assert "conversations: of one answer 40  of several 0" in out and "answers, characters: shortest" in out
    out = said(zygote, "data", "split", "问答.jsonl", "--out", "分", cwd=tmp_path)
    assert "train 32  val 8" in out
    parts = [read(tmp_path / f"分/{name}.jsonl") for name in ("train", "val")]
    both = sorted(part.messages(i)[0].content for part in parts for i in range(len(part)))
    assert [len(part) for part in parts] == [32, 8] and both == sorted(row["instruction"] for row in QUESTIONS)


def test_show_marks_what_is_learned(zygote: Zygote, tmp_path: Path, questions: Path) -> None:
    out = said(zygote, "data", "show", "问答.jsonl", "--count", "2", cwd=tmp_path)
    assert out.count("⟦") == 2 and out.count("<|im_end|>⟧") == 2 and "⟦<|im_start|>" not in out
    shown = json.loads(said(zygote, "data", "show", "问答.jsonl", "--count", "3", "--out", "看.html", "--json", cwd=tmp_path))["samples"]
    for one in shown:
        number = int(one["title"].rpartition(":")[2]) - 1
        asked, answered = QUESTIONS[number]["instruction"], QUESTIONS[number]["output"]
        assert [piece["weight"] for piece in one["pieces"]] == [0.0, 1.0, 0.0] and asked in one["pieces"][0]["text"]
        assert one["pieces"][1]["text"] == f"{answered}<|im_end|>" and 0 < one["learned"] < one["tokens"]
    page = (tmp_path / "看.html").read_text(encoding="utf-8")
    assert page.count("<mark") == 3 and "&lt;|im_end|&gt;</mark>" in page
    out = said(zygote, "data", "show", "language_model/tiny", "--count", "1", cwd=tmp_path)
    assert "32 of them learned" in out or "33 of them learned" in out


def test_dedup_writes_what_is_left(zygote: Zygote, tmp_path: Path, questions: Path) -> None:
    pytest.importorskip("datasketch")
    write(questions, [*QUESTIONS, QUESTIONS[7]])
    out = said(zygote, "data", "dedup", "问答.jsonl", "--out", "净.jsonl", "--threshold", "0.95", cwd=tmp_path)
    assert "问答.jsonl:41  the same as  问答.jsonl:8" in out and "40 of 41 are left: 净.jsonl" in out
    report = json.loads((tmp_path / "净.jsonl.report.json").read_text(encoding="utf-8"))
    assert len(read(tmp_path / "净.jsonl")) == report["kept"] == 40
    assert "already" in said(zygote, "data", "dedup", "问答.jsonl", "--out", "净.jsonl", cwd=tmp_path, code=2)
    assert "ends in .jsonl" in said(zygote, "data", "dedup", "问答.jsonl", "--out", "净.csv", cwd=tmp_path, code=2)


def test_keys_without_effect_are_refused_with_their_line(zygote: Zygote, tmp_path: Path, questions: Path) -> None:
    recipe = "version: 1\ntask: sft\ndata:\n  train: 问答.jsonl\n  transforms: {train: [{name: hflip}]}\nmodel: {name: liandan/gpt}\n"
    (tmp_path / "a.yaml").write_text(recipe, encoding="utf-8")
    out = said(zygote, "train", "a.yaml", cwd=tmp_path, code=2)
    assert "a.yaml:5" in out and "data.transforms.train" in out and "no effect" in out
    out = said(zygote, "train", "image_classification/tiny", "data.text.context=9", cwd=tmp_path, code=2)
    assert "data.text.context" in out and "no effect" in out
