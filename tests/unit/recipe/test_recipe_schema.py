"""The schema: defaults, limits, shorthands, and that nothing of it can be changed."""

import pickle
from typing import Any

import pydantic
import pytest

from liandan.recipe import Recipe, RecipeError, json_schema, make_recipe
from liandan.recipe.schema import Open, Section

MINIMAL = {"task": "image_classification", "data": {"train": "photos/"}, "model": {"name": "liandan/lenet5"}}


def make(**sections) -> Any:  # Any: the tests know which member of a union they get
    return make_recipe({**MINIMAL, **sections})


def faults(values: dict) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        make_recipe(values)
    return {fault.key: str(fault) for fault in caught.value.faults}


def test_defaults():
    recipe = make()
    assert recipe.version == 1 and recipe.seed == 0 and recipe.device == "auto" and recipe.name is None and recipe.loss is None
    assert recipe.data.train.path == "photos/" and recipe.data.train.format is None
    assert recipe.data.val.model_dump() == {"hold_out": 0.2, "stratify": True}
    assert (recipe.data.transforms.train, recipe.data.transforms.eval) == ("auto", "auto")
    assert recipe.data.text.model_dump() == {"tokenizer": "auto", "vocab_size": 4096, "context": 128, "template": "auto", "packing": False}
    assert (recipe.data.workers, recipe.data.unreadable, recipe.data.max_unreadable, recipe.data.worker_timeout) == (
        "auto",
        "skip",
        0.01,
        120,
    )
    assert (recipe.model.weights, recipe.model.freeze, recipe.model.adapter) == ("none", (), None)
    assert (recipe.optimizer.name, recipe.optimizer.arguments) == ("adamw", {"lr": 1e-3})
    assert (recipe.schedule.name, recipe.schedule.warmup) == ("constant", None)
    assert recipe.train.model_dump() == {
        "duration": {"epochs": 10.0},
        "batch_size": 64,
        "micro_batch_size": "auto",
        "precision": "auto",
        "compile": "auto",
        "clip_norm": None,
        "ema": None,
        "threads": "auto",
        "log_every": "auto",
        "non_finite": "stop",
    }
    assert recipe.evaluate.model_dump() == {
        "every": {"epochs": 1.0},
        "metrics": None,
        "best": None,
        "stop_after": None,
        "batch_size": "auto",
        "tta": (),
    }
    assert recipe.checkpoint.model_dump() == {"every": {"epochs": 1.0}, "keep": 2}
    assert recipe.run.dir is None and recipe.distributed.strategy == "auto"


def test_only_task_data_and_model_must_be_given():
    assert list(faults({})) == ["task", "data", "model"]
    assert list(faults({"task": "t", "data": {}, "model": {}})) == ["data.train", "model.name"]


def test_keyword_arguments_are_kept_and_given_as_a_copy():
    recipe = make(optimizer={"name": "adam", "betas": [0.9, 0.99], "groups": [{"lr": 1}]})
    assert recipe.optimizer.arguments == {"betas": [0.9, 0.99], "groups": [{"lr": 1}]}
    recipe.optimizer.arguments["betas"].append(1)
    recipe.optimizer.arguments["groups"][0]["lr"] = 2
    assert recipe.optimizer.arguments == {"betas": [0.9, 0.99], "groups": [{"lr": 1}]}
    assert make(model={"name": "m", "weights": "none", "num_classes": 3}).model.arguments == {"num_classes": 3}
    assert make(data={"train": {"path": "x", "format": "idx", "split": "train"}}).data.train.arguments == {"split": "train"}


def test_shorthands():
    data = make(data={"train": "a", "val": "b", "test": "c", "transforms": {"train": ["flip", {"name": "crop", "size": 28}]}}).data
    assert [source.path for source in (data.train, data.val, data.test)] == ["a", "b", "c"]
    assert [(step.name, step.arguments) for step in data.transforms.train] == [("flip", {}), ("crop", {"size": 28})]


def test_validation_may_be_held_out_read_or_absent():
    assert make(data={"train": "a", "val": {"stratify": False}}).data.val.model_dump() == {"hold_out": 0.2, "stratify": False}
    assert make(data={"train": "a", "val": {"path": "v", "format": "idx"}}).data.val.format == "idx"
    assert make(data={"train": "a", "val": None}).data.val is None
    assert "data.val.holdout" in faults({**MINIMAL, "data": {"train": "a", "val": {"holdout": 0.1}}})


def test_nothing_can_be_changed():
    values = {**MINIMAL, "optimizer": {"name": "adam", "betas": [0.9, 0.99]}}
    recipe: Any = make_recipe(values)
    values["optimizer"]["betas"].append(3)
    values["task"] = "x"
    assert recipe.optimizer.arguments == {"betas": [0.9, 0.99]} and recipe.task == "image_classification"
    with pytest.raises(pydantic.ValidationError):
        recipe.seed = 3
    with pytest.raises(pydantic.ValidationError):
        recipe.optimizer.lr = 3
    assert isinstance(recipe.optimizer.betas, tuple)
    recipe.values()["train"]["batch_size"] = 1
    assert recipe.values()["train"]["batch_size"] == 64


BAD = [
    ("version", 2),
    ("version", "1"),
    ("task", ""),
    ("task", 3),
    ("seed", -1),
    ("seed", 1.5),
    ("seed", True),
    ("device", None),
    ("data.workers", -1),
    ("data.workers", "2"),
    ("data.workers", True),
    ("data.unreadable", "ignore"),
    ("data.max_unreadable", 1.1),
    ("data.worker_timeout", 0),
    ("data.val", 3),
    ("data.val.fold", [1]),
    ("data.val.fold", [0, 3]),
    ("data.val.fold", [4, 3]),
    ("data.val.fold", [1, 1]),
    ("data.val.fold", "1/3"),
    ("data.val.hold_out", 0.0),
    ("data.val.hold_out", 1),
    ("data.val.stratify", "no"),
    ("data.transforms.train", "flip"),
    ("data.transforms.train", {"name": "flip"}),
    ("data.text.tokenizer", "bpe2"),
    ("data.text.context", 0),
    ("model", "lenet"),
    ("model.freeze", "backbone"),
    ("model.freeze", [1]),
    ("model.adapter", 8),
    ("optimizer", "sgd"),
    ("schedule.warmup", 3),
    ("schedule.warmup", {}),
    ("schedule.warmup", {"epochs": 1, "steps": 1}),
    ("schedule.warmup.shape", "cosine"),
    ("train.duration", 10),
    ("train.duration", {"epochs": 0}),
    ("train.duration", {"steps": 1.5}),
    ("train.duration", {"epochs": float("inf")}),
    ("train.duration", {"epochs": None, "steps": None}),
    ("train.batch_size", 0),
    ("train.batch_size", "64"),
    ("train.batch_size", 64.0),
    ("train.micro_batch_size", 65),
    ("train.micro_batch_size", 0),
    ("train.precision", "fp8"),
    ("train.compile", "yes"),
    ("train.compile", 1),
    ("train.clip_norm", 0),
    ("train.clip_norm", float("nan")),
    ("train.ema", 1),
    ("train.threads", 0),
    ("train.log_every", 0),
    ("train.non_finite", "ignore"),
    ("evaluate.metrics", "accuracy"),
    ("evaluate.best", {"metric": "a", "mode": "maximum"}),
    ("evaluate.stop_after", 0),
    ("checkpoint.keep", 0),
    ("run.dir", ""),
    ("distributed.strategy", "ddp"),
    ("loss", 3),
    ("loss", "mse"),
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_every_wrong_value_is_one_fault_at_its_key_in_words(key, value):
    with pytest.raises(RecipeError) as caught:
        make_recipe(MINIMAL, {key: value})
    (fault,) = caught.value.faults
    assert fault.key == key or fault.key.startswith((f"{key}.", f"{key}["))
    assert fault.where in ("overrides", "command line")
    assert fault.expected and fault.received
    for jargon in ("Input should", "valid dictionary", "instance of", "literal", "tuple", "NoneType", "_type"):
        assert jargon not in str(fault)


def test_a_rule_about_two_sections():
    assert "evaluate.stop_after" in faults({**MINIMAL, "data": {"train": "a", "val": None}, "evaluate": {"stop_after": 3}})


@pytest.mark.parametrize("name", ["_target_", "__class__", "a b", "logging.os", "class", "1a"])
@pytest.mark.parametrize("section", ["model", "optimizer", "loss"])
def test_a_key_that_can_be_no_keyword_argument_is_a_fault(section, name):
    assert list(faults({**MINIMAL, section: {"name": "x", name: "os.system"}})) == [f"{section}.{name}"]


@pytest.mark.parametrize("value", [len, object(), {1: 2}, {"a": {1, 2}}, [b"x"], "\ud800", 1j])
def test_only_plain_values(value):
    with pytest.raises(RecipeError):
        make(loss={"name": "x", "value": value})


def test_a_value_that_holds_itself_is_a_fault():
    knot: list = []
    knot.append(knot)
    with pytest.raises(RecipeError):
        make(loss={"name": "x", "value": knot})
    knot.append(knot)
    with pytest.raises(RecipeError):
        make(loss={"name": "x", "value": knot})


def test_paths_and_tuples_of_python_become_plain(tmp_path):
    recipe = make_recipe(MINIMAL, {"data.train": tmp_path, "optimizer.betas": (0.9, 0.99)})
    assert recipe.data.train.path == str(tmp_path)
    assert recipe.document.values["optimizer"]["betas"] == [0.9, 0.99]


def test_recipes_survive_pickling_with_their_lines():
    recipe = make_recipe(MINIMAL, {"optimizer.momentum": 0.9})
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe and again.document == recipe.document and hash(again) == hash(recipe)
    assert again != make()


def sections() -> list[type[Section]]:
    found, queue = [], [Section]
    while queue:
        for section in queue.pop().__subclasses__():
            found.append(section)
            queue.append(section)
    return found


def test_every_field_of_every_section_is_described_and_frozen():
    assert len(sections()) > 15
    for section in sections():
        assert section.model_config.get("frozen") and section.model_config.get("strict")
        assert section.model_config.get("extra") == ("allow" if issubclass(section, Open) else "forbid")
        for name, field in section.model_fields.items():
            assert field.description and "\n" not in field.description, f"{section.__name__}.{name}"


def test_json_schema_describes_every_key_and_allows_shorthands_and_a_base():
    schema = json_schema()
    assert {"base", *Recipe.model_fields} == set(schema["properties"])
    assert schema["additionalProperties"] is False
    assert schema["anyOf"] == [{"required": ["base"]}, {"required": ["task", "data", "model"]}]
    assert {"type": "string"} in schema["$defs"]["Source"]["anyOf"] and {"type": "string"} in schema["$defs"]["Step"]["anyOf"]
    assert schema["$defs"]["Train"]["properties"]["batch_size"] == {
        "default": 64,
        "description": "samples of one step, over all processes",
        "minimum": 1,
        "title": "Batch Size",
        "type": "integer",
    }
