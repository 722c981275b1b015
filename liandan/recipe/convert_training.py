"""The loss, optimizer_cfg, lr_config and what data_cfg says of length and metrics -> the recipe's sections of these names."""

from __future__ import annotations

from typing import Any

from .convert_section import Section, Tell
from .document import MAX_VALUES, Node, join, plant
from .faults import did_you_mean, one_of, show

_LOSSES = ("CrossEntropyLoss", "LabelSmoothLoss")
_METRICS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1_score": "f1", "support": "support"}
_THRESHOLDED = ("accuracy", "precision", "recall", "f1")
_WARMUPS = {"linear": "linear", "constant": "constant", "exp": "exponential"}
_SCHEDULES: dict[str, tuple[str, dict[str, Any]]] = {  # type -> name here, and its own arguments with their defaults
    "StepLrUpdater": ("step", {"step": None, "gamma": 0.1, "min_lr": None}),
    "PolyLrUpdater": ("poly", {"power": 1.0, "min_lr": 0.0}),
    "CosineAnnealingLrUpdater": ("cosine", {"min_lr": None, "min_lr_ratio": None}),
    "CosineAnnealingCooldownLrUpdater": (
        "cosine_cooldown",
        {"min_lr": None, "min_lr_ratio": None, "cool_down_ratio": 0.1, "cool_down_time": 10},
    ),
}
_LR_COMMON = ("by_epoch", "warmup", "warmup_iters", "warmup_ratio", "warmup_by_epoch")
_COUNTED_IN_EPOCHS = {"step": "schedule.milestones", "cosine_cooldown": "schedule.cool_down_time"}


def loss(tell: Tell, loss: Section) -> Node:
    """The loss of the head."""
    kind = tell.choice(loss, "type", _LOSSES, "loss.name", default="CrossEntropyLoss")
    found: dict[str, Any] = {"name": "cross_entropy"}
    for name, only in (("reduction", "mean"), ("loss_weight", 1.0)):
        if loss.get(name, only) != only:
            tell.fault("loss", loss.at(name), str(only), loss.said(name), "scale the learning rate instead, and say loss={name: ...}")
    if kind == "CrossEntropyLoss":
        found["name"] = "binary_cross_entropy" if loss.get("use_sigmoid") else "cross_entropy"
        if loss.get("use_soft"):
            tell.note(loss.at("use_soft"), f"{loss.said('use_soft')}: for samples of one class each, it is the same number")
        if (weights := loss.get("class_weight")) is not None:
            found["class_weights"] = weights
            tell.note(loss.at("class_weight"), "class_weight: the loss is divided by the weights of the samples, not by their number")
        if (weights := loss.get("pos_weight")) is not None:
            found["pos_weight"] = weights
    elif kind == "LabelSmoothLoss":
        smoothing, mode = loss.get("label_smooth_val"), loss.get("mode", "original")
        loss.taken.add("num_classes")
        if mode == "classy_vision" and isinstance(smoothing, int | float):
            smoothing /= 1 + smoothing  # (one-hot + s / K) / (1 + s) is the original form with s / (1 + s)
        elif mode != "original":
            tell.fault("loss", loss.at("mode"), "mode original or classy_vision", loss.said("mode"), "or loss={name: ...}")
        found["label_smoothing"] = smoothing
    for name in loss.left():
        tell.fault("loss", loss.at(name), "an argument that has a counterpart", loss.said(name), "or loss={name: ...}")
    return plant(found, loss.where)


def optimizer(tell: Tell, optimizer: Section) -> Node:
    """The optimizer, torch's own by its name in lower case, and its keyword arguments as they are."""
    kind = optimizer.node("type")
    found: dict[str, Node] = {}
    if kind is None or not isinstance(kind.value, str):
        tell.fault("optimizer.name", optimizer.where, "the name of one of torch's optimizers", optimizer.said("type"))
    else:
        found["name"] = Node(kind.value.lower(), kind.where)
    found |= {name: optimizer.nodes[name] for name in optimizer.left()}
    if "weight_decay" in found and found["weight_decay"].value:
        found["weight_decay_on"] = plant("all", found["weight_decay"].where)  # torch's optimizers shrink biases and norms too
    return Node(found, optimizer.where)


def schedule(tell: Tell, lr: Section, train: Section) -> Node:
    """The schedule with its warm-up."""
    kind = tell.choice(lr, "type", _SCHEDULES, "schedule.name")
    if kind is None:
        return Node({}, lr.where)
    name, defaults = _SCHEDULES[kind]
    for unknown in [left for left in lr.left() if left not in (*defaults, *_LR_COMMON)]:
        hint = did_you_mean(unknown, (*defaults, *_LR_COMMON))
        tell.fault("schedule", lr.at(unknown), one_of((*defaults, *_LR_COMMON)), lr.said(unknown), hint)
    own = {key: lr.get(key, default) for key, default in defaults.items()}
    if "min_lr_ratio" in own and (own["min_lr"] is None) == (own["min_lr_ratio"] is None):
        received = "none of them" if own["min_lr"] is None else "both"
        tell.fault("schedule", lr.where, "exactly one of: min_lr, min_lr_ratio", received, "or schedule={name: ...}")
    found: dict[str, Any] = {"name": name}
    if name == "step":
        found["milestones"] = _milestones(tell, lr, train)
        own.pop("step")
    found |= {key: value for key, value in own.items() if value is not None}
    if lr.get("by_epoch", True):
        found |= {} if name == "step" else {"by_epoch": True}  # a step is made where an epoch begins in any case
    elif name in _COUNTED_IN_EPOCHS:
        key = _COUNTED_IN_EPOCHS[name]
        tell.fault(key, lr.at("by_epoch"), "by_epoch=True: a length in epochs", lr.said("by_epoch"), f"give it in epochs with {key}=...")
    planted = {key: plant(value, lr.at(key)) for key, value in found.items()}
    return Node(planted | _warmup(tell, lr), lr.where)


def _milestones(tell: Tell, lr: Section, train: Section) -> Any:
    """A list as it is; a number is the distance of milestones, up to the end."""
    step, epochs = lr.get("step"), train.get("epoches")
    if isinstance(step, list):
        return step
    if isinstance(step, int) and isinstance(epochs, int) and step > 0 and epochs / step < MAX_VALUES:
        return list(range(step, epochs, step))
    expected = "a list of epochs, or the distance of two"
    tell.fault("schedule.milestones", lr.at("step"), expected, lr.said("step"), "or schedule.milestones=...")
    return []


def _warmup(tell: Tell, lr: Section) -> dict[str, Node]:
    asked = {name: lr.get(name, default) for name, default in zip(_LR_COMMON[1:], (None, 0, 0.1, False), strict=True)}
    if asked["warmup"] is None:
        return {}
    shape = tell.choice(lr, "warmup", _WARMUPS, "schedule.warmup")
    if shape is None:
        return {}
    where = lr.at("warmup")
    values = {
        "epochs" if asked["warmup_by_epoch"] else "steps": plant(asked["warmup_iters"], lr.at("warmup_iters")),
        "shape": plant(_WARMUPS[shape], where),
        "ratio": plant(asked["warmup_ratio"], lr.at("warmup_ratio")),
        "overlap": plant(True, where),  # the schedule runs from the first step on, and the warm-up is a factor on it
    }
    return {"warmup": Node(values, where)}


def duration(tell: Tell, data: Section, train: Section) -> dict[str, Node]:
    """The length of the run and the size of its steps."""
    found: dict[str, Node] = {}
    for section, name, key in ((train, "epoches", "duration"), (data, "batch_size", "batch_size")):
        node = section.node(name)
        if node is None:
            tell.fault(f"train.{key}", section.where, f"a number for {join(section.key, name)}", "nothing", f"or train.{key}=...")
        else:
            found[key] = Node({"epochs": node}, node.where) if key == "duration" else node
    return found


def evaluation(tell: Tell, test: Section, head: Section) -> dict[str, Node]:
    """What is measured. Every evaluation has the confusion matrix and a table with each class, so that neither need be asked for."""
    options = test.section("metric_options")
    asked, topk, thresholds = test.get("metrics", ["accuracy"]), options.get("topk", head.get("topk", [1, 5])), options.get("thrs")
    options.taken.add("average_mode")
    for name in options.left():
        tell.note(options.at(name), f"{options.said(name)}: not taken over, it has no counterpart")
    if test.get("ckpt"):
        tell.note(test.at("ckpt"), f"{test.said('ckpt')}: `liandan evaluate` takes the run itself")
    names = ["loss", "accuracy"]  # by the accuracy the best checkpoint is chosen, whatever else is measured
    known = (*_METRICS, "confusion")
    for name in _listed(asked):
        if not isinstance(name, str) or name not in known:
            hint = did_you_mean(str(name), known)
            tell.fault("evaluate.metrics", test.at("metrics"), one_of(known), f"metrics: {show(name)}", hint)
        elif name == "accuracy":
            names += [f"top{k}" for k in _listed(topk) if k != 1]
        elif name in _METRICS:
            names.append(_METRICS[name])
    at = [f"{name}@{threshold}" for threshold in _listed(thresholds) if threshold for name in names if name in _THRESHOLDED]
    return {"metrics": plant(list(dict.fromkeys([*names, *at])), test.at("metrics"))}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
