"""Recipes as text, and back."""

from hypothesis import given
from hypothesis import strategies as st

from liandan.recipe import ABSENT, diff, in_short, load_recipe, make_recipe, shipped, to_yaml
from liandan.recipe.document import Document
from liandan.recipe.read import read_text

MINIMAL = {"task": "image_classification", "data": {"train": "照片/"}, "model": {"name": "liandan/lenet5"}}
FULL = {
    "task": "t",
    "name": "no",
    "seed": 3,
    "data": {
        "train": {"path": "C:\\photos: #1", "format": "idx", "split": "train"},
        "val": {"path": "v"},
        "transforms": {"train": ["flip", {"name": "crop", "size": [28, 28], "fill": {"a": 1}}], "eval": []},
    },
    "model": {
        "name": "m",
        "freeze": ["backbone", "1e-4"],
        "widths": [[1, 2], [3]],
        "empty": {},
        "nothing": None,
        "text": "a\n\x85石 🪨\u2028",
    },
    "loss": {"name": "cross_entropy", "label_smoothing": 0.1, "weight": {"null": 1.0, "a b": 1e-30}},
    "schedule": {"name": "cosine", "warmup": {"steps": 3}},
    "train": {"duration": {"steps": 7}, "compile": False},
    "evaluate": {"metrics": ["accuracy", "f1"], "best": {"metric": "val/accuracy", "mode": "max"}},
}


def load_text(tmp_path, text: str):
    path = tmp_path / "out.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def test_round_trip(tmp_path):
    for values in (MINIMAL, FULL):
        recipe = make_recipe(values)
        for describe in (False, True):
            again = load_text(tmp_path, to_yaml(recipe, describe=describe))
            assert again == recipe
            assert to_yaml(again) == to_yaml(recipe)
        assert make_recipe(recipe.values()) == recipe


def test_in_short_only_what_is_not_a_default_is_said_and_it_is_the_same_recipe(tmp_path):
    for name in shipped():
        recipe = load_recipe(name)
        short = in_short(recipe)
        assert load_text(tmp_path, short) == recipe
        assert len(short.splitlines()) < 0.6 * len(to_yaml(recipe).splitlines())
    for values in (MINIMAL, FULL):
        assert load_text(tmp_path, in_short(make_recipe(values))) == make_recipe(values)
    minimal = "version: 1\ntask: image_classification\ndata:\n  train:\n    path: 照片/\nmodel:\n  name: liandan/lenet5\n"
    assert in_short(make_recipe(MINIMAL)) == minimal


def test_it_is_complete_ordered_and_plain():
    text = to_yaml(make_recipe(FULL))
    lines = text.splitlines()
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == [
        "version",
        "task",
        "name",
        "seed",
        "data",
        "model",
        "loss",
        "optimizer",
        "schedule",
        "train",
        "evaluate",
        "checkpoint",
        "run",
        "device",
        "distributed",
    ]
    assert 'name: "no"' not in text and "name: no" in lines  # `no` is text in YAML 1.2
    assert '  freeze: [backbone, "1e-4"]' in lines
    assert "      - {name: flip}" in lines and "      - {name: crop, size: [28, 28], fill: {a: 1}}" in lines
    assert "    steps: 7" in lines and "    epochs: null" not in lines
    assert "tuple" not in text and "!!" not in text


def test_descriptions_are_comments():
    lines = to_yaml(make_recipe(MINIMAL), describe=True).splitlines()
    assert lines[lines.index("  batch_size: 64") - 1] == "  # samples of one step, over all processes"
    assert lines[lines.index("  lr: 0.001") - 1] == "  layer_decay: null"  # an argument has no description of the schema
    assert lines[lines.index("    hold_out: 0.2") - 1].startswith("    # part of the training samples")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_any_argument_survives(value):
    recipe = make_recipe({**MINIMAL, "loss": {"name": "x", "value": value}})
    again = Document.of(read_text(to_yaml(recipe), "x"))
    assert again.values["loss"]["value"] == value
    assert make_recipe(again.values) == recipe


def test_diff():
    a = make_recipe(FULL)
    b = make_recipe(
        FULL, ["train.duration.epochs=2", "seed=4", "loss.label_smoothing=0.2", "loss.reduction=sum", "model.widths=[[1], [3]]"]
    )
    assert diff(a, a) == []
    assert diff(a, b) == [
        ("seed", 3, 4),
        ("model.widths", [[1, 2], [3]], [[1], [3]]),
        ("loss.label_smoothing", 0.1, 0.2),
        ("loss.reduction", ABSENT, "sum"),
        ("train.duration.steps", 7, ABSENT),
        ("train.duration.epochs", ABSENT, 2.0),
    ]
    assert diff({"a": 1, "b": {"c": None}}, {"a": True, "b": {}}) == [("a", 1, True), ("b.c", None, ABSENT)]
    assert diff(a, a.values()) == []
