"""Weights from a local file into a model, whoever wrote the file, and a report of what became of each tensor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from liandan.models.freeze import HEADS, classifiers
from liandan.models.nearest import fitting
from liandan.models.translate import recognize
from liandan.models.weight_files import UnsafeWeights, WeightsError, read_weights

__all__ = ["Report", "UnsafeWeights", "WeightsError", "load_weights", "read_weights"]

PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile


@dataclass
class Report:
    """What became of each tensor, by name in the model (unexpected: in the file)."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # in the model alone; as initialized, the head zero
    unexpected: list[str] = field(default_factory=list)  # in the file alone; ignored
    reinitialized: list[str] = field(default_factory=list)  # the head, for another number of classes; zero
    classes: tuple[int, int] | None = None  # of a reinitialized head: in the file, in the model
    family: str | None = None  # whose names were translated

    @property
    def fresh(self) -> list[str]:
        """Tensors of the model that the file did not fill."""
        return self.missing + self.reinitialized

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded" + (f" ({self.family})" if self.family else "")]
        if self.classes:
            theirs, ours = self.classes
            parts.append(f"the head starts anew for {ours} classes, the file's has {theirs} ({_some(self.reinitialized)})")
        parts += [f"{len(names)} {what} ({_some(names)})" for what in ("missing", "unexpected") if (names := getattr(self, what))]
        return "; ".join(parts)


def load_weights(model: nn.Module, path: str | Path, *, skip_head: bool = True) -> Report:
    """Copy the tensors of a file into the parameters and buffers of the same name, keeping the model's types and devices.

    Names of other programs are translated where `translate` knows them. A head that the file does not fill starts from zero (Kolesnikov
    et al., "Big Transfer", 2020): what a library draws for it may drown what the features say, and would be sent back through them.

    Args:
        model: changed in place; on an error, not at all. Its `own_name`, if it has one, is given the names it does not know.
        path: .safetensors, or .pt, .pth, .bin, .ckpt, .pth.tar holding a state_dict, bare or under one of WRAPPERS; PREFIXES are dropped.
        skip_head: a classifier of another number of classes starts anew and is reported; False: it is an error.

    Raises:
        UnsafeWeights: the file would run code or lies about its contents.
        WeightsError: unreadable, or made for another architecture, which is named where it can be told.
    """
    path = Path(path)
    own = model.state_dict()
    original = _renamed(read_weights(path), own, path, getattr(model, "own_name", str))
    found, family = _translated(original, model, own, path)
    heads = tuple(f"{name}." for name in classifiers(model))
    # Counters and tables of indices are no weights: a model has made its own.
    report = Report(unexpected=[n for n, t in found.items() if n not in own and t.is_floating_point()], family=family)
    for name, tensor in own.items():
        if name not in found:
            tied = any(other in found and tensor.data_ptr() == own[other].data_ptr() for other in own if other != name)
            if tensor.is_floating_point() and not tied:
                report.missing.append(name)
        elif found[name].shape == tensor.shape:
            if found[name].is_floating_point() != tensor.is_floating_point():
                raise WeightsError(
                    f"{path}: {name} is {found[name].dtype}, the model's is {tensor.dtype}; a quantized file is not for training"
                )
            report.loaded.append(name)
        elif skip_head and name.startswith(heads) and found[name].shape[1:] == tensor.shape[1:]:
            report.reinitialized.append(name)
            report.classes = len(found[name]), len(tensor)
        else:
            raise WeightsError(
                f"{path}: {name} has shape {tuple(found[name].shape)} in the file, {tuple(tensor.shape)} in the model. "
                f"{_fits(original) or 'Build the model with the arguments it was trained with, or take weights made for this one.'}"
            )
    _one_architecture(report, original, model, path)
    # A head is one thing: its bias must not come from the file when its weight cannot.
    for head in heads:
        if any(n.startswith(head) for n in report.reinitialized):
            report.reinitialized += [n for n in report.loaded if n.startswith(head)]
            report.loaded = [n for n in report.loaded if not n.startswith(head)]
    with torch.no_grad():
        for name in report.loaded:
            own[name].copy_(found[name])
        for name in report.fresh:
            if name.startswith(heads):
                own[name].zero_()
    return report


def _translated(
    found: dict[str, Tensor], model: nn.Module, own: Mapping[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], str | None]:
    """The tensors under the model's names, and whose names they had."""
    family = recognize(found, own)
    if family is None:
        return found, None
    names = family.names(model)
    if not names.keys() & found.keys():
        raise WeightsError(f"{path}: holds {family.title}; {type(model).__name__} is another network. {_fits(found)}")
    if quarrel := family.quarrel(found, model):
        advice = family.remedy(found) + _fits(found)
        raise WeightsError(f"{path}: holds {family.title}, made with {quarrel}. It would load, and compute something else. {advice}")
    renamed = ((names.get(name, name), tensor) for name, tensor in found.items())
    return {name: family.value(name, tensor) for name, tensor in renamed}, family.title


def _one_architecture(report: Report, found: Mapping[str, Tensor], model: nn.Module, path: Path) -> None:
    """Raise where the file is of another architecture: nothing or little in common, or all of one that is not the model's."""
    if not report.loaded:
        raise WeightsError(
            f"{path}: none of its {len(found)} tensors ({_some(found)}) is one of the {len(report.missing)} of {type(model).__name__} "
            f"({_some(report.missing)}). The file is of another architecture. {_fits(found) or 'Check `model.name`.'}"
        )
    strange = [n for n in (*report.missing, *report.unexpected) if n.partition(".")[0] not in HEADS]
    better = _fits(found) if strange else ""
    if better or len(report.loaded) < len(report.missing):
        raise WeightsError(
            f"{path}: {len(report.missing)} tensors of {type(model).__name__} are not there ({_some(report.missing)}), "
            f"{len(report.unexpected)} others are ({_some(report.unexpected)}). The file is of another architecture. "
            f"{better or 'Check `model.name`.'}"
        )


def _fits(found: Mapping[str, Tensor]) -> str:
    names = fitting(found)
    return f"The file fits {' and '.join(names)} with default arguments; set `model.name`." if names else ""


def _renamed(found: dict[str, Tensor], own: Mapping[str, Tensor], path: Path, own_name: Callable[[str], str]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for full, tensor in found.items():
        name = full
        while name not in own and name.startswith(PREFIXES):  # a model may have a module of that name
            name = name.partition(".")[2]
        name = own_name(name) if name not in own and own_name(name) in own else name
        if name in renamed:
            raise WeightsError(f"{path}: {name} is there twice, with and without {' or '.join(PREFIXES)}; save one model a file")
        renamed[name] = tensor
    return renamed


def _some(names: Collection[str]) -> str:
    return ", ".join([*list(names)[:2], *(["..."] if len(names) > 2 else [])])
