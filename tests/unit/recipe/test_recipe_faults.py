"""What a person reads when a recipe is wrong."""

import inspect
import pickle

import pytest

from liandan.recipe import Document, Fault, RecipeError, check_arguments, find, load_recipe, make_recipe, nearest, shipped
from liandan.recipe import shipped as shipped_recipes
from liandan.recipe.faults import MAX_FAULTS

HEAD = "task: image_classification\ndata: {train: photos/}\nmodel: {name: liandan/lenet5}\n"


def report(tmp_path, text: str) -> str:
    path = tmp_path / "rocks.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    return str(caught.value)


def test_golden_a_misspelled_key_a_wrong_value_and_a_key_in_the_wrong_place(tmp_path):
    text = HEAD + 'train:\n  batchsize: 32\n  micro_batch_size: "big"\n  epochs: 3\n'
    assert (
        report(tmp_path, text)
        == """\
rocks.yaml:5  train.batchsize
    expected  one of: duration, batch_size, micro_batch_size, precision, compile, clip_norm, ema, threads, log_every, non_finite
    received  batchsize
    hint      did you mean "batch_size"?
rocks.yaml:6  train.micro_batch_size
    expected  a whole number above 0, or auto
    received  "big" (text)
rocks.yaml:7  train.epochs
    expected  one of: duration, batch_size, micro_batch_size, precision, compile, clip_norm, ema, threads, log_every, non_finite
    received  epochs
    hint      did you mean "train.duration.epochs"?"""
    )


def test_golden_a_name_where_a_section_belongs_and_what_is_missing(tmp_path):
    assert (
        report(tmp_path, "task: image_classification\ndata:\n  workers: '2'\noptimizer: sgd\n")
        == """\
rocks.yaml  model
    expected  what learns
    received  nothing
    hint      for example model: {name: liandan/lenet5}
rocks.yaml:2  data.train
    expected  the training samples
    received  nothing
    hint      for example train: photos/
rocks.yaml:3  data.workers
    expected  a whole number of 0 or more, or auto
    received  "2" (text)
    hint      remove the quotes
rocks.yaml:4  optimizer
    expected  a section with keys name, weight_decay_on, layer_decay and keyword arguments
    received  "sgd" (text)
    hint      write {name: sgd}"""
    )


def test_golden_yaml_itself(tmp_path):
    assert (
        report(tmp_path, HEAD + "train:\n\tbatch_size: 3\n")
        == """\
rocks.yaml:5
    expected  YAML
    received  found character '\\t' that cannot start any token
    hint      indent with spaces, not with tabs"""
    )
    assert (
        report(tmp_path, HEAD + "seed: 1\nseed: 2\n")
        == """\
rocks.yaml:5  seed
    expected  each key once
    received  seed again, first written at rocks.yaml:4
    hint      keep one of the two"""
    )


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("train: {compile: yes}", "YAML 1.2 writes true"),
        ("train: {duration: 10}", "write {epochs: 10} or {steps: 10}"),
        ("train: {duration: {steps: 1e3}}", "write 1000"),
        ("train: {precision: bfloat16}", 'did you mean "bf16"?'),
        ("evaluate: {metrics: accuracy}", "write [accuracy]"),
        ("lr: 3", 'did you mean "optimizer.lr"?'),
        ("batch_size: 3", 'did you mean "train.batch_size"?'),
        ("train.batch_size: 3", "a dotted key belongs on the command line; in a file write train: {batch_size: ...}"),
        ("name: 3", 'write "3"'),
        ("Seed: 3", 'did you mean "seed"?'),
        ("loss: {name: x, _target_: os.system}", "nothing in a recipe is run or imported"),
    ],
)
def test_hints(tmp_path, line, hint):
    assert f"    hint      {hint}" in report(tmp_path, HEAD + line)


def test_a_hostile_key_writes_nothing_on_the_terminal(tmp_path):
    text = report(tmp_path, HEAD + '"\\e[2J\\nx": "\\e[31m"\nseed: "\\e[2J"\n')
    assert "\x1b" not in text
    assert len(text.splitlines()) == 6


def test_thousands_of_faults_are_counted_and_some_shown():
    values = {"task": "t", "data": {"train": "x"}, "model": {"name": "m"}, "train": {f"key{i}": i for i in range(4000)}}
    with pytest.raises(RecipeError) as caught:
        make_recipe(values)
    assert len(caught.value.faults) == 4000
    assert str(caught.value).endswith(f"and {4000 - MAX_FAULTS} more")


def test_recipe_error_is_a_value_error_and_survives_pickling():
    error = RecipeError([Fault("a.b", "x.yaml:3", "1", "2", "3")])
    assert isinstance(error, ValueError)
    again = pickle.loads(pickle.dumps(error))
    assert again.faults == error.faults and str(again) == str(error) == "x.yaml:3  a.b\n    expected  1\n    received  2\n    hint      3"


@pytest.mark.parametrize(
    ("word", "found"),
    [("batchsize", "batch_size"), ("Batch-Size", "batch_size"), ("precison", "precision"), ("zzz", None), ("", None), ("x" * 10**6, None)],
)
def test_nearest(word, found):
    assert nearest(word, ["batch_size", "precision", "ema"]) == found


def sgd(params, lr: float, *, momentum: float = 0.0, nesterov: bool = False): ...
def loose(images, scale, **rest): ...


def test_check_arguments_against_a_signature():
    recipe = make_recipe({"task": "t", "data": {"train": "x"}, "model": {"name": "m"}}, ["optimizer={name: sgd, momentun: 0.9, params: 3}"])
    faults = check_arguments(recipe.optimizer.arguments, inspect.signature(sgd), "optimizer", recipe.document, skip=["params"])
    assert [(fault.key, fault.where, fault.received) for fault in faults] == [
        ("optimizer.momentun", "command line", "momentun"),
        ("optimizer.params", "command line", "params"),
        ("optimizer.lr", "command line", "nothing"),
    ]
    assert faults[0].hint == 'did you mean "momentum"?' and faults[0].expected == "one of: lr, momentum, nesterov"
    assert check_arguments({"lr": 1, "nesterov": True}, inspect.signature(sgd), "optimizer", recipe.document, skip=["params"]) == []


def test_check_arguments_of_an_open_signature():
    assert check_arguments({"any": 1, "scale": 2}, inspect.signature(loose), "model", skip=["images"]) == []
    assert [fault.key for fault in check_arguments({"images": 1}, inspect.signature(loose), "model", skip=["images"])] == [
        "model.images",
        "model.scale",
    ]


def test_check_arguments_knows_the_keys_of_the_section():
    (fault,) = check_arguments({"wieghts": "x"}, inspect.signature(lambda: None), "model")
    assert (fault.hint, fault.expected) == ('did you mean "weights"?', "no arguments")


def test_where_of_a_key_falls_back_to_its_section():
    document = Document({}, {"": "r.yaml", "a": "r.yaml:1", "a.b[0]": "r.yaml:2"})
    assert [document.where(key) for key in ("a.b[0].c", "a.b[1].c", "a", "b", "")] == [
        "r.yaml:2",
        "r.yaml:1",
        "r.yaml:1",
        "r.yaml",
        "r.yaml",
    ]


@pytest.fixture
def package(tmp_path, monkeypatch):
    import sys

    from liandan.recipe import shipped as _  # noqa: F401

    (tmp_path / "recipes" / "image_classification").mkdir(parents=True)
    (tmp_path / "recipes" / "image_classification" / "tiny.yaml").write_text(HEAD)
    (tmp_path / "secret.yaml").write_text(HEAD)
    monkeypatch.setattr(sys.modules["liandan.recipe.shipped"], "FOLDER", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shipped_recipes_are_found_by_name(package):
    assert shipped() == ["image_classification/tiny"]
    assert find("image_classification/tiny") == package / "recipes" / "image_classification" / "tiny.yaml"
    assert load_recipe("image_classification/tiny", ["seed=4"]).seed == 4
    (package / "own.yaml").write_text("base: image_classification/tiny\nseed: 9\n")
    assert load_recipe(package / "own.yaml").seed == 9
    assert find("own.yaml").samefile(package / "own.yaml")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("image_classification/tini", "image_classification/tiny"),
        ("secert.yaml", 'did you mean "secret.yaml"?'),
        ("../secret", "shipped recipes"),
        ("image_classification/../../secret", ""),
        ("", ""),
        ("a\0b", ""),
        ("x" * 5000, ""),
        ("x" * 5000 + ".yaml", ""),
    ],
)
def test_what_is_not_found_names_the_nearest(package, name, hint):
    with pytest.raises(RecipeError) as caught:
        find(name)
    assert hint in caught.value.faults[0].hint


def test_the_shipped_recipes_of_the_package_load():
    for name in shipped_recipes():
        assert load_recipe(name).task == name.split("/")[0]
