"""Bases and overrides."""

from typing import Any

import pytest

from liandan.recipe import RecipeError, load_recipe, make_recipe

BASE = """\
task: image_classification
data:
  train: photos/
  transforms:
    train: [flip, {name: random_crop, size: 28}]
model: {name: timm/a, weights: pretrained, freeze: [backbone], drop_rate: 0.5}
optimizer:
  name: sgd
  lr: 0.1
  momentum: 0.9
schedule: {name: step, gamma: 0.1, warmup: {epochs: 1, shape: constant}}
train: {duration: {epochs: 10}, batch_size: 32}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "基础.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "deep").mkdir()
    return tmp_path


def child(folder, text: str, overrides=()) -> Any:  # Any: the tests know which member of a union they get
    path = folder / "deep" / "rocks.yaml"
    path.write_text("base: ../基础.yaml\n" + text, encoding="utf-8")
    return load_recipe(path, overrides)


def where(caught) -> list[tuple[str, str]]:
    return [(fault.key, fault.where) for fault in caught.value.faults]


def test_mappings_merge_lists_are_replaced_and_each_key_keeps_its_place(folder):
    recipe = child(folder, "train:\n  batch_size: 8\ndata: {transforms: {train: [a]}}\n", ["seed=3"])
    assert recipe.train.batch_size == 8 and recipe.train.duration.epochs == 10
    assert [step.name for step in recipe.data.transforms.train] == ["a"]
    document = recipe.document
    assert document.where("train.batch_size") == "rocks.yaml:3"
    assert document.where("train.duration.epochs") == "../基础.yaml:12"
    assert document.where("data.transforms.train[0]") == "rocks.yaml:4"
    assert document.where("data.train") == "../基础.yaml:3"
    assert document.where("optimizer.momentum") == "../基础.yaml:10"
    assert document.where("seed") == "command line"
    assert document.path == folder / "deep" / "rocks.yaml"
    assert "base" not in document.values


def test_another_name_drops_the_arguments_of_the_old_one_but_not_the_keys_of_the_section(folder):
    recipe = child(folder, "optimizer: {name: adamw}\nmodel: {name: timm/b}\nschedule: {name: cosine}")
    assert recipe.optimizer.arguments == {} and recipe.model.arguments == {} and recipe.schedule.arguments == {}
    assert (recipe.model.weights, recipe.model.freeze) == ("pretrained", ("backbone",))
    assert recipe.schedule.warmup is not None and recipe.schedule.warmup.epochs == 1
    assert "optimizer.momentum" not in recipe.document.lines


def test_the_same_name_keeps_them(folder):
    assert child(folder, "optimizer: {name: sgd, lr: 1}").optimizer.arguments == {"lr": 1, "momentum": 0.9}
    assert child(folder, "optimizer: {lr: 1}").optimizer.arguments == {"lr": 1, "momentum": 0.9}


def test_a_name_that_was_a_default_counts_as_a_name():
    values = {"task": "t", "data": {"train": "x"}, "model": {"name": "m"}, "optimizer": {"amsgrad": True}}
    assert make_recipe(values, ["optimizer.name=sgd"]).optimizer.arguments == {}
    assert make_recipe(values, ["optimizer.name=adamw"]).optimizer.arguments == {"amsgrad": True}


def test_overrides_that_name_another_thing(folder):
    recipe = child(folder, "", ["optimizer.name=adamw", "optimizer.lr=1e-3"])
    assert (recipe.optimizer.name, recipe.optimizer.arguments) == ("adamw", {"lr": 1e-3})
    assert child(folder, "", ["optimizer={name: adamw}"]).optimizer.arguments == {}


@pytest.mark.parametrize("given", ["train: {duration: {steps: 5}}", "evaluate: {every: {steps: 5}}"])
def test_a_base_alternative_is_replaced(folder, given):
    recipe = child(folder, given)
    duration = recipe.train.duration if "train" in given else recipe.evaluate.every
    assert (duration.epochs, duration.steps) == (None, 5)


def test_an_override_replaces_the_alternative(folder):
    for overrides in (
        ["train.duration.steps=5"],
        ["train.duration={steps: 5}"],
        {"train.duration.steps": 5},
        {"train": {"duration": {"steps": 5}}},
    ):
        duration = child(folder, "", overrides).train.duration
        assert (duration.epochs, duration.steps) == (None, 5)
    duration = child(folder, "train: {duration: {steps: 10}}", ["train.duration.epochs=3"]).train.duration
    assert (duration.epochs, duration.steps) == (3, None)
    warmup = child(folder, "", ["schedule.warmup.steps=7"]).schedule.warmup
    assert (warmup.epochs, warmup.steps, warmup.shape) == (None, 7, "constant")


def test_both_alternatives_in_one_layer_are_a_fault(folder):
    with pytest.raises(RecipeError, match=r"rocks\.yaml:2  train\.duration\n.*exactly one of: epochs, steps\n.*both"):
        child(folder, "train: {duration: {steps: 5, epochs: 3}}")


def test_validation_is_held_out_or_read_never_both(folder):
    (folder / "基础.yaml").write_text(
        BASE.replace("  train: photos/", "  train: photos/\n  val: {hold_out: 0.5, stratify: false}"), encoding="utf-8"
    )
    assert child(folder, "").data.val.hold_out == 0.5
    assert child(folder, "data: {val: {path: v/}}").data.val.path == "v/"
    assert child(folder, "data: {val: v/}", ["data.val.format=idx"]).data.val.model_dump() == {"path": "v/", "format": "idx"}
    assert child(folder, "data: {val: {hold_out: 0.3}}").data.val.model_dump() == {"hold_out": 0.3, "stratify": False}
    back = child(folder, "data: {val: v/}", ["data.val.hold_out=0.3"]).data.val
    assert back.model_dump() == {"hold_out": 0.3, "stratify": True}
    assert child(folder, "data: {val: null}", ["data.val.hold_out=0.3"]).data.val.hold_out == 0.3
    fold = child(folder, "data: {val: {fold: [2, 5]}}")
    assert fold.data.val.model_dump() == {"fold": (2, 5), "stratify": False}
    assert fold.with_values({"data.val.fold": [3, 5]}).data.val.fold == (3, 5)
    assert fold.with_values({"data.val.hold_out": 0.1}).data.val.model_dump() == {"hold_out": 0.1, "stratify": False}
    with pytest.raises(RecipeError, match="exactly one of: hold_out, fold"):
        child(folder, "data: {val: {fold: [2, 5], hold_out: 0.1}}")


def test_keys_are_laid_over_a_shorthand(folder):
    recipe = child(folder, "data: {train: {format: idx}}", ["data.transforms.train[0].p=0.3", "data.transforms.train[1].size=32"])
    assert (recipe.data.train.path, recipe.data.train.format) == ("photos/", "idx")
    assert [(step.name, step.arguments) for step in recipe.data.transforms.train] == [("flip", {"p": 0.3}), ("random_crop", {"size": 32})]
    assert recipe.document.where("data.train.path") == "../基础.yaml:3"
    assert recipe.document.where("data.transforms.train[1].size") == "command line"


def test_a_base_of_a_base_is_a_fault(folder):
    (folder / "基础.yaml").write_text("base: x.yaml\n" + BASE, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        child(folder, "")
    assert where(caught) == [("base", "../基础.yaml:1")]
    assert "a base that has no base itself" in str(caught.value)


@pytest.mark.parametrize(
    "named", ["missing.yaml", "../../../../etc/passwd", "/etc/passwd", "..", "3", "[a]", "''", "image_classification/none"]
)
def test_a_base_that_is_none_is_blamed_on_its_line(folder, named):
    path = folder / "deep" / "r.yaml"
    path.write_text(f"task: t\nbase: {named}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert where(caught) == [("base", "r.yaml:2")]
    assert "root:" not in str(caught.value)
    if named == "missing.yaml":
        assert str(folder / "deep" / "missing.yaml") in caught.value.faults[0].received


def test_faults_in_a_base_name_the_base(folder):
    (folder / "基础.yaml").write_text(BASE.replace("batch_size: 32", "batchsize: 32"), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        child(folder, "seed: -1\n", ["train.precision=fp61"])
    assert sorted(where(caught)) == [("seed", "rocks.yaml:2"), ("train.batchsize", "../基础.yaml:12"), ("train.precision", "command line")]
    (folder / "基础.yaml").write_text("task: t\ntask: u\n")
    with pytest.raises(RecipeError, match=r"\.\./基础\.yaml:2  task"):
        child(folder, "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("true", True),
        ("", None),
        ("null", None),
        ("no", "no"),
        ("[1, a]", [1, "a"]),
        ("{a: [1]}", {"a": [1]}),
        ("'1'", "1"),
        ('"a b"', "a b"),
        ("C:\\photos #1", "C:\\photos #1"),
        ("a: b", "a: b"),
        ("*.jpg", "*.jpg"),
        ("!x", "!x"),
        ("- a", "- a"),
        ("a=b", "a=b"),
        ("${oc.env:HOME}", "${oc.env:HOME}"),
        ("石头/", "石头/"),
    ],
)
def test_the_value_of_an_override_is_a_scalar_or_a_flow_value(text, value):
    recipe = make_recipe({"task": "t", "data": {"train": "x"}, "model": {"name": "m"}}, [f"model.argument={text}"])
    assert recipe.model.arguments == {"argument": value}


@pytest.mark.parametrize(
    ("override", "key", "part"),
    [
        ("train.batchsize=3", "train.batchsize", 'did you mean "batch_size"?'),
        ("trian.batch_size=3", "trian", 'did you mean "train"?'),
        ("train.batch_size", "", "key=value"),
        ("train.batch_size=[1", "train.batch_size", "close the bracket"),
        ("train..batch_size=1", "", "a dotted key"),
        ("=1", "", "a dotted key"),
        ("a.b" * 3000 + "=1", "", "at most 50 parts"),
        ("data.transforms.train[" + "9" * 5000 + "]=1", "", "a dotted key"),
        ("model.a=!!python/name:x", None, ""),
        ("model.a=[!!python/name:os.system x]", "model.a", "!!python/name"),
        ("train.batch_size.x=1", "train.batch_size.x", "train.batch_size is 32"),
        ("data.transforms.train[2].size=1", "data.transforms.train[2]", "a list of 2 values"),
        ("data.train[0]=1", "data.train[0]", "a section"),
        ("base=x.yaml", "base", "only in a recipe file"),
        ("task=", "task", "null"),
    ],
)
def test_wrong_overrides_are_blamed_on_the_command_line(folder, override, key, part):
    if key is None:  # not a flow value: text, and harmless
        assert child(folder, "", [override]).model.arguments["a"] == "!!python/name:x"
        return
    with pytest.raises(RecipeError) as caught:
        child(folder, "", [override])
    assert where(caught) == [(key, "command line")]
    assert part in str(caught.value)


def test_all_wrong_overrides_are_reported(folder):
    with pytest.raises(RecipeError) as caught:
        child(folder, "", ["a", "b=[", "train.seed=1"])
    assert len(caught.value.faults) == 2  # what cannot be read hides what it would mean
    with pytest.raises(RecipeError) as caught:
        child(folder, "", ["train.sed=1", "model.weights=3"])
    assert len(caught.value.faults) == 2


def test_later_overrides_win(folder):
    assert child(folder, "", ["train.batch_size=1", "train.batch_size=2"]).train.batch_size == 2
    assert child(folder, "", "train.batch_size=5").train.batch_size == 5


def test_with_values_keeps_every_other_place_and_the_original(folder):
    recipe = child(folder, "seed: 3\n")
    other = recipe.with_values({"train.precision": "fp32", "train.duration.steps": 4}, origin="resolved")
    assert (other.train.precision, other.train.duration.steps, other.train.duration.epochs, other.seed) == ("fp32", 4, None, 3)
    assert (recipe.train.precision, recipe.train.duration.epochs) == ("auto", 10)
    assert other.document.where("train.precision") == "resolved"
    assert other.document.where("seed") == "rocks.yaml:2" and other.document.where("train.batch_size") == "../基础.yaml:12"
    assert other.document.path == recipe.document.path
    with pytest.raises(RecipeError, match=r"resolved  train\.precision"):
        recipe.with_values({"train.precision": "fp61"}, origin="resolved")
