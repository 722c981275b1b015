"""A Python config of Awesome-Backbones, or of mmpretrain's first generation, -> the tree of a recipe.

Six names are read: model_cfg, train_pipeline, val_pipeline, data_cfg, lr_config, optimizer_cfg. What they say becomes keys of the recipe,
each with the config's line; what has no counterpart becomes a fault that a `key=value` can answer, or a note. Nothing is left out in
silence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from .convert_model import freeze, head_and_neck, model, weights
from .convert_section import Section, Tell
from .convert_steps import Converted, convert_steps
from .convert_training import duration, evaluation, loss, optimizer, schedule
from .document import Node, plant
from .faults import Fault, show
from .python_config import plain

# Where the tool these configs were written for looks for its lists: no config names them.
TRAIN_LIST, VAL_LIST, CLASSES = "datas/train.txt", "datas/test.txt", "datas/annotations.txt"


@dataclass(frozen=True)
class Conversion:
    """root: the recipe's tree, as far as it could be made. notes: what is not as it was there. faults: what has no counterpart."""

    root: Node
    notes: tuple[str, ...]
    faults: tuple[Fault, ...]


def convert(config: Mapping[str, Node], file: str, given: Collection[str] = ()) -> Conversion:
    """The recipe of a config.

    Args:
        config: the values of the six names, as `read_python_config` gives them.
        file: its name.
        given: dotted keys that the command line sets: where data is given, the tool's own lists are not asked for.
    """
    tell = Tell()
    whole, data, lr, optimizing = (_part(tell, config[name], name) for name in ("model_cfg", "data_cfg", "lr_config", "optimizer_cfg"))
    train, test, head = data.section("train"), data.section("test"), whole.section("head")
    steps = _pipelines(tell, config)
    named = model(tell, whole, steps["train"].pipeline.gray) | weights(tell, train) | freeze(tell, train)
    head_and_neck(tell, whole, head)
    if steps["eval"].pipeline.bgr and "weights" in named and named["weights"].value != "none":
        tell.note(named["weights"].where, "the weights were trained on BGR images; images are RGB here, so they recognize less than there")
    workers = data.node("num_workers")
    recipe = {
        "version": plant(1, file),
        "task": plant("image_classification", file),
        "name": plant(PurePath(file).stem, file),
        "data": Node(_lists(tell, file, given) | _transforms(config, steps) | ({"workers": workers} if workers else {}), data.where),
        "model": Node(named, whole.where),
        "loss": loss(tell, head.section("loss")),
        "optimizer": optimizer(tell, optimizing),
        "schedule": schedule(tell, lr, train),
        "train": Node(duration(tell, data, train), data.where),
        "evaluate": Node(evaluation(tell, test, head), test.where),
    }
    for section in (whole, head, data, train, test):
        for name in section.left():
            tell.note(section.at(name), f"{section.said(name)}: not taken over, it has no counterpart")
    if tell.inits:
        lines = ", ".join(where.rpartition(":")[2] for where in tell.inits)
        tell.note(tell.inits[0], f"init_cfg (lines {lines}): new weights are drawn as the named model draws them")
    return Conversion(Node(recipe, file), tuple(tell.notes), tuple(tell.faults))


def covers(given: str, key: str) -> bool:
    """Whether setting the dotted key `given` sets `key` too, and so answers what is wrong with it."""
    return key == given or key.startswith((f"{given}.", f"{given}["))


def _part(tell: Tell, node: Node, name: str) -> Section:
    if not isinstance(node.value, dict):
        tell.fault("", node.where, f"{name} = dict(...)", show(plain(node)))
    return Section(node, name, node.where)


def _pipelines(tell: Tell, config: Mapping[str, Node]) -> dict[str, Converted]:
    train = convert_steps(config["train_pipeline"], "train_pipeline", "data.transforms.train", training=True)
    val = convert_steps(config["val_pipeline"], "val_pipeline", "data.transforms.eval", training=False)
    for converted in (train, val):
        tell.notes += converted.notes
        tell.faults += converted.faults
    where, seen, judged = config["val_pipeline"].where, train.pipeline.normalize, val.pipeline.normalize
    if seen and judged and seen != judged:
        tell.note(where, "train_pipeline normalizes otherwise than val_pipeline; here both do as val_pipeline does")
        train.steps[:] = [(judged if step is seen else step, at) for step, at in train.steps]
    if val.pipeline.bgr:
        tell.note(where, "to_rgb=False: images are RGB here, and mean and std are put in that order")
    return {"train": train, "eval": val}


def _lists(tell: Tell, file: str, given: Collection[str]) -> dict[str, Node]:
    """data.train and data.val: the tool's own lists, unless the command line names other data."""
    if not {"data.train", "data.train.path"} & set(given):
        lists = {"train": TRAIN_LIST, "val": VAL_LIST}
        return {key: plant({"path": path, "format": "annotations", "classes": CLASSES}, file) for key, path in lists.items()}
    if not any(covers("data.val", key) for key in given):
        tell.note(file, f"data.train is given: instead of {VAL_LIST}, a fifth of every class is held out to validate on; or give data.val")
    return {"val": plant({"hold_out": 0.2, "stratify": True}, file)}


def _transforms(config: Mapping[str, Node], steps: Mapping[str, Converted]) -> dict[str, Node]:
    where = {"train": config["train_pipeline"].where, "eval": config["val_pipeline"].where}
    planted = {split: Node([plant(step, at) for step, at in made.steps], where[split]) for split, made in steps.items()}
    return {"transforms": Node(planted, where["train"])}
