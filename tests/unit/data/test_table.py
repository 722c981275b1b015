"""Tables of images: one class, several, several heads; CSV as spreadsheets write it, and parquet."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liandan.data.errors import DataError
from liandan.data.readers import detect_format, read
from liandan.data.split import hold_out
from liandan.data.stats import class_counts
from liandan.data.table import table_lines
from tests.unit.data.tables import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(6):
        Image.new("L", (4, 4), 10 * n).save(tmp_path / f"图 {n}.png")
    return tmp_path


def table(folder: Path, text: str, encoding: str = "utf-8", name: str = "a.csv") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk"])
@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv")])
def test_one_class_each(folder: Path, encoding: str, delimiter: str, name: str) -> None:
    rows = ["path,note,label", "图 0.png,x,猫", '"图 1.png","a ""b"" ',  'c",狗', "图 2.png, ,猫", ""]
    path = table(folder, "\r\n".join(rows).replace(",", delimiter), encoding, name)
    assert detect_format(path) == "table"
    source = read(path)
    assert (source.format, source.labels, source.targets.tolist()) == ("table", sorted(["狗", "猫"]), [1, 0, 1])
    assert source.name(1) == "图 1.png" and source.image(1, 1)[0, 0, 0] == 10 and source.target(1) == 0 and not source.multi_label


def test_columns_are_chosen_by_name(folder: Path) -> None:
    path = table(folder, "file,kind\n图 0.png,a\n图 1.png,b\n")
    assert read(path, image="file", label="kind").labels == ["a", "b"]
    with pytest.raises(DataError, match='the column "path" is missing; known: file, kind; choose with `image` and `label`'):
        read(path)
    with pytest.raises(DataError, match='the column "path" comes twice'):
        read(table(folder, "path,path,label\n1,2,3\n"))


def test_names_that_are_numbers_are_sorted_as_numbers(folder: Path) -> None:
    assert read(table(folder, "path,label\n图 0.png,10\n图 1.png,9\n图 2.png,2\n")).labels == ["2", "9", "10"]


def test_given_classes(folder: Path) -> None:
    classes = ["鸟", "猫", "狗"]
    assert read(table(folder, "path,label\n图 0.png,狗\n图 1.png,鸟\n"), classes=classes).targets.tolist() == [2, 0]
    assert read(table(folder, "path,label\n图 0.png,2\n图 1.png,0\n"), classes=classes).targets.tolist() == [2, 0]
    (folder / "classes.txt").write_text("鸟 0\n猫 1\n狗 2\n", encoding="utf-8")
    assert read(folder / "a.csv", classes="classes.txt").labels == classes
    with pytest.raises(DataError, match='line 2: "狗" is none of the 2 classes; known: 猫, 鸟'):
        read(table(folder, "path,label\n图 0.png,狗\n图 1.png,鸟\n"), labels=["鸟", "猫"])


def test_every_bad_row_is_told_at_once(folder: Path) -> None:
    path = table(folder, "path,label\n图 0.png,a\n,b\n图 1.png,\n图 0.png,b\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert [line.strip().split(":")[0] for line in str(caught.value).splitlines()[1:]] == ["line 3", "line 4", "line 5"]
    with pytest.raises(DataError, match="line 3: expected 2 cells, found 3(?s:.*)line 5: expected 2 cells, found 1"):
        read(table(folder, "path,label\n图 0.png,a\n图 1.png,a,b\n图 2.png,b\n图 3.png\n"))
    with pytest.raises(DataError, match="line 2: not CSV"):
        read(table(folder, 'path,label\n"图 0.png"x,a\n'))
    with pytest.raises(DataError, match="expected lines that name images, found none"):
        read(table(folder, "path,label\n"))
    with pytest.raises(DataError, match='"path" is missing'):
        read(table(folder, ""))


def test_cells_with_ends_of_lines_keep_the_numbers(folder: Path) -> None:
    with pytest.raises(DataError, match="line 4: column label is empty"):
        read(table(folder, 'path,note,label\n图 0.png,"two\nlines",a\n图 1.png,x,\n'))


def test_several_classes_in_one_column(folder: Path) -> None:
    path = table(folder, "path,tags\n图 0.png,猫|户外\n图 1.png,\n图 2.png, 户外 \n图 3.png,户外|猫|猫\n")
    source = read(path, label="tags", separator="|")
    assert source.multi_label and source.labels == sorted(["户外", "猫"])
    assert source.targets.dtype == np.uint8 and source.targets.tolist() == [[1, 1], [0, 0], [1, 0], [1, 1]]
    assert [source.target(i) for i in range(4)] == [[0, 1], [], [0], [0, 1]]
    assert class_counts(source) == {"户外": 3, "猫": 2} and source.subset(np.array([2])).target(0) == [0]
    val = read(path, label="tags", separator="|", labels=["天空", "户外", "猫"])
    assert val.target(0) == [1, 2] and val.targets.shape == (4, 3)
    with pytest.raises(DataError, match='"猫" is none of the 1 classes'):
        read(path, label="tags", separator="|", labels=["户外"])


def test_a_column_for_each_class(folder: Path) -> None:
    path = table(folder, "path,猫,狗\n图 0.png,1,0\n图 1.png,0,0\n图 2.png,1.0,True\n")
    source = read(path, label=["猫", "狗"], multi_label=True)
    assert source.multi_label and source.labels == ["猫", "狗"] and [source.target(i) for i in range(3)] == [[0], [], [0, 1]]
    with pytest.raises(DataError, match='line 2: column 狗: expected 0 or 1, found "maybe"'):
        read(table(folder, "path,猫,狗\n图 0.png,1,maybe\n"), label=["猫", "狗"], multi_label=True)
    with pytest.raises(DataError, match="expected the columns 狗, 猫, the classes of the training data"):
        read(path, label=["猫", "狗"], multi_label=True, labels=["狗", "猫"])
    with pytest.raises(DataError, match="expected one label column with a separator"):
        read(path, label=["猫", "狗"], multi_label=True, separator=",")


def test_heads(folder: Path) -> None:
    path = table(folder, "path,color,形状\n图 0.png,red,圆\n图 1.png,blue,方\n图 2.png,red,方\n")
    source = read(path, label=["color", "形状"])
    assert source.labels == {"color": ["blue", "red"], "形状": sorted(["圆", "方"])} and not source.multi_label
    assert source.target(0) == {"color": 1, "形状": source.labels["形状"].index("圆")} and source.targets.shape == (3, 2)
    (folder / "b.csv").write_bytes((folder / "a.csv").read_bytes().replace(b"blue", b"navy"))
    assert read(folder / "b.csv", label=["color", "形状"]).fingerprint()["labels"] != source.fingerprint()["labels"]
    assert class_counts(source) == {"color/blue": 1, "color/red": 2, "形状/圆": 1, "形状/方": 2}
    assert read(path, label=["color", "形状"], labels=source.labels).targets.tolist() == source.targets.tolist()
    with pytest.raises(DataError, match="expected the heads color, size"):
        read(path, label=["color", "形状"], labels={"color": [], "size": []})
    with pytest.raises(DataError, match="line 3: column 形状 is empty"):
        read(table(folder, "path,color,形状\n图 0.png,red,圆\n图 1.png,red,\n"), label=["color", "形状"])


def test_written_tables_are_read_back(folder: Path) -> None:
    heads = read(table(folder, "path,color,形状\n图 0.png,red,圆\n图 1.png,blue,方\n"), label=["color", "形状"])
    several = read(table(folder, "path,tags\n图 0.png,a|b\n图 1.png,\n图 2.png,b\n"), label="tags", separator="|")
    below = folder / "below"
    below.mkdir()
    for source, label, multi_label in ((heads, ["color", "形状"], False), (several, ["a", "b"], True)):
        back = read(table(below, table_lines(source, below)), label=label, multi_label=multi_label)
        assert back.labels == source.labels and back.targets.tolist() == source.targets.tolist()
        assert [Path(back.file(i)).resolve() for i in range(len(back))] == [folder / f"图 {n}.png" for n in range(len(back))]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_rows_of_json_are_a_table_too(folder: Path, suffix: str) -> None:
    rows = [{"path": f"图 {n}.png", "label": n % 2, "size": [4, 4]} for n in range(4)]
    path = write(folder / f"a{suffix}", rows)
    assert detect_format(path) == "table" and read(path).targets.tolist() == [0, 1, 0, 1] and read(path).labels == ["0", "1"]
    with pytest.raises(DataError, match='"labl" is missing; did you mean "label"'):
        read(path, label="labl")
    with pytest.raises(DataError, match="line 5: column label is empty"):
        read(write(path, [*rows, {"path": "图 1.png"}]))


def test_parquet(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    columns = {"path": ["图 0.png", "图 1.png", "图 2.png"], "label": ["猫", "狗", "猫"], "index": [1, 0, 1], "a": [True, False, None]}
    parquet.write_table(pyarrow.table(columns), folder / "a.parquet")
    assert detect_format(folder / "a.parquet") == "table"
    assert read(folder / "a.parquet").targets.tolist() == [1, 0, 1]
    assert read(folder / "a.parquet", label="index", classes=["狗", "猫"]).targets.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="line 3: column a: expected 0 or 1"):
        read(folder / "a.parquet", label=["a"], multi_label=True)
    with pytest.raises(DataError, match='"labl" is missing; did you mean "label"'):
        read(folder / "a.parquet", label="labl")
    (folder / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="expected a parquet file"):
        read(folder / "bad.parquet")


def test_parquet_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # what import gives where it is not installed
    (folder / "a.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r'pip install "liandan\[table\]"'):
        read(folder / "a.parquet")


def rare_and_common(folder: Path, n: int = 103) -> Path:
    """Tags: `common` on every image, `third` on every third, `rare` on four, `once` on one."""
    rows = []
    for i in range(n):
        Image.new("L", (2, 2), i).save(folder / f"{i}.png")
        tags = ["common", *(["third"] if i % 3 == 0 else []), *(["rare"] if i % 25 == 1 else []), *(["once"] if i == 50 else [])]
        rows.append(f"{i}.png,{'|'.join(tags) if i != 60 else ''}")
    return table(folder, "path,tags\n" + "\n".join(rows) + "\n")


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_each_class_gives_its_share_of_a_hold_out(folder: Path, fraction: float) -> None:
    source = read(rare_and_common(folder), label="tags", separator="|")
    for seed in range(5):
        train, val, _ = hold_out(source, fraction, seed=seed)
        total, held = class_counts(source), class_counts(val)
        assert held["once"] == 0 and held["rare"] == max(1, round(total["rare"] * fraction))
        assert held["third"] == round(total["third"] * fraction) and abs(held["common"] - total["common"] * fraction) <= 2
        assert len(train) + len(val) == 103


def test_heads_keep_a_sample_of_each_class(folder: Path) -> None:
    rows = [f"图 {n}.png,{color},{shape}" for n, (color, shape) in enumerate(zip("rrrbbg", "xyxyxy", strict=True))]
    source = read(table(folder, "path,color,shape\n" + "\n".join(rows) + "\n"), label=["color", "shape"])
    for seed in range(10):
        train, val, _ = hold_out(source, 0.4, seed=seed)
        assert all(class_counts(train).values()) and class_counts(val)["color/g"] == 0 and 1 <= len(val) <= 3
