"""Class folders of several levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liandan.data.errors import DataError
from liandan.data.readers import read
from liandan.data.stats import class_counts


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    for n, name in enumerate(("动物/鸟/深/1.png", "动物/鸟/2.png", "动物/鱼/3.png", "植物/树/4.png", "植物/5.png")):
        file = tmp_path / "zoo" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), n).save(file)
    return tmp_path / "zoo"


def test_a_class_may_be_named_by_two_folders(zoo: Path) -> None:
    assert class_counts(read(zoo)) == {"动物": 3, "植物": 2}
    source = read(zoo, levels=2)
    assert class_counts(source) == {"动物/鱼": 1, "动物/鸟": 2, "植物": 1, "植物/树": 1}
    assert {source.name(i): source.labels[source.target(i)] for i in range(5)}["植物/5.png"] == "植物"
    assert class_counts(read(zoo, levels=3))["动物/鸟/深"] == 1
    assert read(zoo, levels=2, labels=[*source.labels, "矿物"]).targets.tolist() == source.targets.tolist()
    with pytest.raises(DataError, match='class folder "植物/树" is not a class of the training data'):
        read(zoo, levels=2, labels=source.labels[:3])


def test_levels_may_be_heads(zoo: Path) -> None:
    with pytest.raises(DataError, match="every image lies 2 folders deep; some lie in 植物 itself"):
        read(zoo, levels=2, heads=True)
    (zoo / "植物/5.png").unlink()
    source = read(zoo, levels=2, heads=True)
    assert source.labels == {"level1": ["动物", "植物"], "level2": sorted(["树", "鱼", "鸟"])}
    found = {source.name(i): source.target(i) for i in range(4)}
    assert found["植物/树/4.png"] == {"level1": 1, "level2": source.labels["level2"].index("树")}
    assert source.subset(np.array([3])).target(0) == source.target(3) and source.fingerprint() != read(zoo).fingerprint()
    assert read(zoo, levels=2, heads=True, labels=source.labels).targets.tolist() == source.targets.tolist()
    with pytest.raises(DataError, match="other heads"):
        read(zoo, levels=2, heads=True, labels=["a"])
    with pytest.raises(DataError, match="levels of at least 2, got 1"):
        read(zoo, heads=True)
