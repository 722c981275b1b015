"""What a benchmark found, as plain data: it crosses processes and is kept between runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setting:
    """How a benchmark is run.

    Attributes:
        quick: one round of small sizes, only to see that the scripts work.
        rounds: of which the best counts.
        folder: empty, for whatever the benchmark writes; deleted afterwards.
    """

    quick: bool
    rounds: int
    folder: Path

    def pick(self, full: int, quick: int) -> int:
        """A size."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Line:
    """One comparison.

    Attributes:
        what: is measured.
        peer, ours: figures with their units; peer is empty where there is nothing to compare with.
        ratio: above 1 liandan is better; None where there is no peer.
        goal: what was aimed at, in words.
        met: whether it was; None where there is no goal.
        rounds: every round's figures, as text, so that a reader sees the noise.
    """

    what: str
    peer: str
    ours: str
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    rounds: str = ""


@dataclass
class Result:
    """Lines of one benchmark and the circumstances.

    Attributes:
        notes: sentences for the page, what was seen beside the figures.
        load: processes that wanted the processor before the benchmark began (the one-minute load average).
        error: why there are no lines, or empty.
    """

    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load: float = 0.0
    seconds: float = 0.0
    error: str = ""
    machine: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Result:
        return cls(**{**values, "lines": [Line(**line) for line in values["lines"]]})
