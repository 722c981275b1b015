"""What a person sees of a training run: a bar where somebody watches, a line an evaluation where nobody does."""

from __future__ import annotations

import sys
from typing import Any

from liandan.cli.output import number, say


class Progress:
    """Watches a run; with `quiet` nothing is shown."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Any = None
        self.task: Any = None
        self.metrics: dict[str, float] = {}

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich import progress
            from rich.console import Console
            from rich.table import Column

            def whole(width: int) -> Column:
                return Column(no_wrap=True, min_width=width)  # metrics give way in a narrow window, times do not

            self.bar = progress.Progress(
                progress.TextColumn("{task.description}", table_column=whole(8)),
                progress.BarColumn(bar_width=16),
                progress.MofNCompleteColumn(table_column=whole(9)),
                progress.TimeRemainingColumn(compact=True, table_column=whole(5)),
                progress.TextColumn("{task.fields[metrics]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
                console=Console(stderr=True),
            )
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        if "note" in event:
            if self.bar is not None:
                self.bar.console.print(event["note"], highlight=False, markup=False)
            elif not self.quiet:
                say(event["note"])
        elif "begin" in event:
            if self.bar is not None:
                self.task = self.bar.add_task("train", total=event["steps"], completed=event["step"], metrics="")
            elif not self.quiet:
                say(f"run {event['run']}, step {event['step']} of {event['steps']}")
        elif "step" in event:
            self._step(event)
        elif "evaluated" in event and self.bar is not None and self.task is not None:
            self.bar.update(self.task, description="evaluate")

    def _step(self, event: dict[str, Any]) -> None:
        found = {k: v for k, v in event.items() if "/" in k and isinstance(v, float) and not k.endswith("gradient_norm")}
        self.metrics.update(found)
        text = "  ".join(f"{k} {number(v)}" for k, v in list(self.metrics.items())[: 3 if self.bar else 6])
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=event["step"], description="train", metrics=text)
        elif not self.quiet and any(k.startswith("val/") for k in found):
            say(f"step {event['step']}/{event['steps']}  epoch {event['epoch']:.2f}  {text}")
