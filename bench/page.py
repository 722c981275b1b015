"""docs/benchmarks.md from what the benchmarks found."""

from __future__ import annotations

from collections.abc import Mapping

from bench import machine
from bench.result import Line, Result
from bench.rows import ROWS

_HEAD = """# Benchmarks

Made by `make bench` (`python -m bench`; `python -m bench {first}` measures one row again); do not edit by hand. Every peer is a script in
`bench/peers`, run in turn with liandan on the same machine in the same minutes; the best of five rounds counts for either side where
nothing else is said. **The ratio is above 1 where liandan is better.**

Machine: {machine}
"""


def page(results: Mapping[str, Result]) -> str:
    """The whole page, with a table, and below it what each row compares and what every round gave."""
    facts = next(iter(results.values())).machine
    out = [_HEAD.format(first=next(iter(ROWS)), machine=machine.sentence(facts))]
    out.append("\n".join(table(results)))
    for name, benchmark in ROWS.items():
        result = results[name]
        out.append(f"\n## {benchmark.title}\n\n{benchmark.compares}\n")
        out += [f"- {note}" for note in result.notes]
        if result.error:
            out.append(f"- It could not be measured: {result.error.splitlines()[0]}")
        out += [f"- Every round of {line.what}: {line.rounds}." for line in result.lines if line.rounds]
        out.append(f"- {result.load:g} other processes wanted the processor when it began; it took {result.seconds / 60:.1f} minutes.")
    return "\n".join(out) + "\n"


def table(results: Mapping[str, Result]) -> list[str]:
    """The lines of a Markdown table."""
    rows = ["| | peer | liandan | ratio | goal | |", "|---|---|---|---|---|---|"]
    for name, result in results.items():
        rows += [row(line) for line in result.lines] or [f"| {ROWS[name].title} | | not measured | | | |"]
    return rows


def row(line: Line) -> str:
    verdict = "" if line.met is None else "met" if line.met else "not met"
    ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
    return f"| {line.what} | {line.peer} | {line.ours} | {ratio} | {line.goal} | {verdict} |"
