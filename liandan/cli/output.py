"""How things look: results on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from typing import Any

import typer

QUIET = typer.Option(False, "--quiet", help="Only results and errors.")
JSON = typer.Option(False, "--json", help="Standard output is JSON alone.")


def say(text: str) -> None:
    """A line of the log. One that nobody can take (a full disk behind `2>`, a terminal that is gone) stops nothing."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def error(text: str) -> None:
    """What went wrong, in red where a person watches."""
    color = sys.stderr.isatty()
    say(f"\033[31m{text}\033[0m" if color else text)


def result(value: Any) -> None:
    """A result as JSON; NaN and infinity, which JSON has not, as null."""

    def plain(x: Any) -> Any:
        if isinstance(x, float) and not math.isfinite(x):
            return None
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        return [plain(v) for v in x] if isinstance(x, list | tuple) else x

    print(json.dumps(plain(value), ensure_ascii=False, indent=2, default=str))


def table(rows: list[dict[str, Any]], columns: list[str]) -> None:
    """Rows as a table on standard output; plain columns where nobody watches."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*(number(row.get(column)) for column in columns))
    # a pipe is as wide as it must be: nothing is cut for a program that reads it
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(drawn, soft_wrap=not sys.stdout.isatty())


def number(value: Any) -> str:
    """A cell: floats to five digits, nothing for None."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return "" if value is None else str(value)
