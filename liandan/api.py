"""The verbs for Python. The command line calls these and prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liandan.recipe import Fault, Recipe, RecipeError, find, load_recipe, make_recipe

if TYPE_CHECKING:
    from torch import nn

    from liandan.deploy.artefact import Artefact
    from liandan.runs.compare import Comparison
    from liandan.runs.layout import Layout
    from liandan.runtime.opened import OpenRun

Overrides = Mapping[str, Any] | Sequence[str]
Watch = Callable[[dict[str, Any]], None]


class Run:
    """A run directory: what it measured, and its model when that is asked for."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._opened: OpenRun | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.layout.root

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        from liandan.runs.record import read_metrics

        return read_metrics(self.layout)

    @property
    def opened(self) -> OpenRun:
        """The best checkpoint's model on its device, loaded once."""
        if self._opened is None:
            from liandan.runtime.opened import open_run as opened

            self._opened = opened(self.layout)
        return self._opened

    def evaluate(
        self,
        data: str | Mapping[str, Any] | None = None,
        *,
        split: str | None = None,
        batch_size: int | None = None,
        tta: Sequence[str] = (),
        answers: int = 200,
    ) -> dict[str, float]:
        """{"<split>/<metric>": value} of the run's own split, or of other data; writes evaluation/<split>/.

        Args:
            data: a path, or {"path": ..., "format": ..., arguments of the reader}, as a recipe's data.test.
            split: val, test or train of the run, val if not given; of other data, what it is called.
            tta: views each prediction is averaged over beside the sample itself, such as hflip; the split is then called <split>-tta.
            answers: of at most so many samples, what the model writes is judged as well, if its task is to write.
        """
        return self.opened.evaluate(data, split, batch_size, tta, answers=answers)

    def export(
        self,
        formats: str | Sequence[str],
        out: str | Path | None = None,
        *,
        quantize: str | None = None,
        force: bool = False,
        max_drop: float = 0.5,
    ) -> list[dict[str, Any]]:
        """Write the run in formats that other programs read (hf, onnx, openvino), into its export/ or into `out`; see deploy.export.

        Args:
            quantize: "int8", or None.

        Returns:
            A row an artefact: where it is and what proves it; before those of graphs one of the run's own model.
        """
        from liandan.deploy.export import ExportError, export

        if quantize not in (None, "int8"):
            raise ExportError(f'expected quantize="int8" or None, received {quantize!r}')
        named = [formats] if isinstance(formats, str) else formats
        return export(self.layout, named, None if out is None else Path(out), int8=bool(quantize), force=force, max_drop=max_drop)

    def predict(self, inputs: Iterable[str], *, every: float = 0.0) -> Iterator[dict[str, Any]]:
        """One result for each file, file in a folder, frame of a video, or prompt; an unreadable one gets `error` and stops nothing.

        Args:
            every: seconds between two frames of a video; 0 takes all of them.
        """
        from liandan.deploy.predictor import predict

        return predict(self.opened, inputs, every)

    def explain(self, inputs: Iterable[str], *, label: str | None = None, out: str | Path | None = None) -> Iterator[dict[str, Any]]:
        """Where a classifier looked: a picture for each image, see deploy.explain."""
        from liandan.deploy.explain import explain

        return explain(self.opened, inputs, label, None if out is None else Path(out))


def recipe_of(target: str | Path | Recipe, overrides: Overrides = ()) -> tuple[Recipe, bool]:
    """The recipe of a file, a shipped name or plain data; true with it when it was made here, from plain data.

    A file is YAML, or a Python config, which is read and never run.

    Raises:
        RecipeError: with every fault of the recipe, or when the target is none of the three.
    """
    try:
        return _recipe_of(target, overrides)
    except RecipeError as error:
        if error.rest is None:
            raise
        from liandan.engine.session import open_faults

        raise RecipeError([*error.faults, *open_faults(error.rest)]) from None


def _recipe_of(target: str | Path | Recipe, overrides: Overrides) -> tuple[Recipe, bool]:
    if isinstance(target, Recipe):
        if not isinstance(overrides, Mapping) and overrides:
            raise RecipeError([Fault("", "", "overrides of a Recipe as a mapping", str(overrides), "pass {key: value}")])
        changes = overrides if isinstance(overrides, Mapping) else {}
        return (target.with_values(changes) if changes else target), False
    path = Path(target)
    if path.suffix.lower() not in (".yaml", ".yml", ".py") and path.exists():
        from liandan import tasks
        from liandan.runtime import weights

        values = tasks.recognize(path, weights.here, asked_model(overrides))
        if values is None:
            hint = "write a recipe: `liandan recipe show image_classification/tiny` is a start; or run `liandan data check` on the data"
            expected = "a folder with a folder of images for each class, a .txt file, a file of rows, or a recipe"
            raise RecipeError([Fault("", str(target), expected, str(target), hint)])
        return make_recipe(values, overrides), True
    return load_recipe(find(str(target)), overrides), False


def asked_model(overrides: Overrides) -> str | None:
    """The value that overrides give model.name, if they do."""
    pairs = overrides.items() if isinstance(overrides, Mapping) else [item.split("=", 1) for item in overrides if "=" in item]
    return next((value for key, value in pairs if key == "model.name" and isinstance(value, str)), None)


def train(
    target: str | Path | Recipe,
    overrides: Overrides = (),
    *,
    resume: bool = False,
    allow_data_change: bool = False,
    watch: Watch = lambda event: None,
) -> Run:
    """Train by a recipe, a shipped recipe's name, or plain data; returns the finished run.

    Args:
        overrides: {"train.duration.epochs": 3} or ["train.duration.epochs=3"].
        resume: go on with `run.dir`, else with the newest unfinished run of that name.
        watch: told what happens; it only looks.

    Raises:
        KeyboardInterrupt: a signal ended it; its checkpoint is complete and `resume` goes on.
    """
    from liandan.engine import session

    outcome = session.start(recipe_of(target, overrides)[0], resume=resume, allow_data_change=allow_data_change, watch=watch)
    if outcome.exit_code:
        raise KeyboardInterrupt(f"stopped at step {outcome.step}; {outcome.layout.root} can be resumed")
    return Run(outcome.layout)


def open_run(target: str | Path = "last") -> Run:
    """A run directory, a run's name (its newest run), or "last".

    Raises:
        RunError: nothing of that name; names what is near.
    """
    from liandan.runs.layout import find as find_run

    return Run(find_run(str(target)))


def open_predictor(target: str | Path = "last") -> OpenRun | Artefact:
    """What predicts: an artefact's folder, or a run directory, a run's name, or "last"."""
    from liandan.deploy.artefact import open_predictor as opened

    return opened(target)


def compare(*targets: str | Path) -> Comparison:
    """What differs between runs, and their metrics side by side."""
    from liandan.runs.compare import compare as compared

    return compared([open_run(target).layout for target in targets])


def model(name: str, **kwargs: Any) -> nn.Module:
    """A model by its name, such as "timm/resnet18" or "liandan/lenet5"; keyword arguments are its builder's."""
    from liandan import models
    from liandan.runtime.weights import local

    return models.build(local(name), **kwargs)


__all__ = ["Recipe", "RecipeError", "Run", "compare", "load_recipe", "model", "open_predictor", "open_run", "recipe_of", "train"]
