"""The flags of the training script that Python configs were written for: each stands for a key=value, and only a Python config has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import typer

_OF_CONFIGS = "Only with a Python config: "

RESUME_FROM = typer.Option(None, "--resume-from", metavar="RUN", help=_OF_CONFIGS + "run.dir=RUN --resume.")
SEED = typer.Option(None, "--seed", min=0, help=_OF_CONFIGS + "seed=N.")
DEVICE = typer.Option(None, "--device", help=_OF_CONFIGS + "device=DEVICE.")
GPU_ID = typer.Option(None, "--gpu-id", min=0, help=_OF_CONFIGS + "device=cuda:N.")
SPLIT_VALIDATION = typer.Option(False, "--split-validation", help=_OF_CONFIGS + "data.val={hold_out: 0.2}.")
RATIO = typer.Option(None, "--ratio", help=_OF_CONFIGS + "data.val.hold_out=RATIO, beside --split-validation.")
DETERMINISTIC = typer.Option(False, "--deterministic", help=_OF_CONFIGS + "nothing to set, a run is a function of its seed.")
LOCAL_RANK = typer.Option(None, "--local-rank", help=_OF_CONFIGS + "nothing to set, --processes N starts several.")


@dataclass
class Meaning:
    """What the flags given stand for.

    overrides: key=value, in order. resume: whether the run of run.dir goes on. said: (flag as given, what it stands for).
    """

    overrides: list[str] = field(default_factory=list)
    resume: bool = False
    said: list[tuple[str, str]] = field(default_factory=list)


def meaning(
    target: str, resume_from: str | None, seed: int | None, device: str | None, gpu_id: int | None, split_validation: bool,
    ratio: float | None, deterministic: bool, local_rank: int | None,
) -> Meaning:  # fmt: skip
    """What the flags stand for. Raises typer.BadParameter where the target is no Python config, or a flag has no meaning."""
    given = {
        "--resume-from": resume_from, "--seed": seed, "--device": device, "--gpu-id": gpu_id,
        "--split-validation": split_validation or None, "--ratio": ratio,
        "--deterministic": deterministic or None, "--local-rank": local_rank,
    }  # fmt: skip
    given = {flag: value for flag, value in given.items() if value is not None}
    if given and Path(target).suffix.lower() != ".py":
        flags = ", ".join(given)
        raise typer.BadParameter(f"{flags}: only with a Python config (.py); write key=value, such as seed=3", param_hint=target)
    found = Meaning()

    def stands_for(flag: str, key: str, value: object) -> None:
        found.overrides.append(f"{key}={value}")
        found.said.append((flag, f"{key}={value}"))

    if seed is not None:
        stands_for(f"--seed {seed}", "seed", seed)
    if device is not None:
        stands_for(f"--device {device}", "device", device)
    if gpu_id is not None and device not in (None, "cuda"):
        found.said.append((f"--gpu-id {gpu_id}", f"nothing, beside --device {device}"))
    elif gpu_id is not None:
        stands_for(f"--gpu-id {gpu_id}", "device", f"cuda:{gpu_id}")
    if ratio is not None and not split_validation:
        raise typer.BadParameter("it is the part of --split-validation, which is not given", param_hint="--ratio")
    if split_validation:
        flag = "--split-validation" + (f" --ratio {ratio:g}" if ratio is not None else "")
        stands_for(flag, "data.val", f"{{hold_out: {0.2 if ratio is None else ratio}, stratify: true}}")
    if deterministic:
        found.said.append(("--deterministic", "no key; order, augmentation and dropout are functions of the seed in every run"))
    if local_rank is not None:
        found.said.append((f"--local-rank {local_rank}", "no key; `--processes N` starts several processes and numbers them"))
    if resume_from is not None:
        from liandan.recipe.scalars import write

        run = f"run.dir={write(str(run_of(Path(resume_from))))}"
        found.overrides.append(run)
        found.said.append((f"--resume-from {resume_from}", f"{run} --resume"))
        found.resume = True
    return found


def run_of(path: Path) -> Path:
    """The run directory a path leads to: itself, or the one that a checkpoint in it belongs to."""
    from liandan.runs.layout import Layout

    if path.suffix.lower() in (".pth", ".pt"):
        hint = f"to begin a new run with its weights: model.weights={path} (epoch, optimizer and learning rate begin anew)"
        raise typer.BadParameter(f"expected the directory of a run, or a checkpoint in it, got {path}; {hint}", param_hint="--resume-from")
    for folder in (path, *path.parents):
        if Layout(folder).is_run():
            return folder
    raise typer.BadParameter(f"expected the directory of a run, or a checkpoint in it, got {path}", param_hint="--resume-from")
