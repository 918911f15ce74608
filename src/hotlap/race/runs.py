"""One run of a race: what is wanted of it, and what it showed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar

from hotlap.race.curves import LearningCurve
from hotlap.records import Outcome, Recording, Setup

T = TypeVar("T")
SEEDS = {"baseline": 100, "search": 200, "final": 300}
"""Of each stage: what was searched on must not decide."""


@dataclass(frozen=True)
class Run:
    """One run and what it showed."""

    record: Recording
    curve: LearningCurve
    step_s: float
    """Mean time of a step [s], evaluation apart."""

    @property
    def steps(self) -> int:
        """That it took."""
        return len(self.record.steps.total_s)


@dataclass(frozen=True)
class Wanted:
    """A run to be made."""

    setup: Setup
    stage: str
    """Whose seeds it trains on, see `SEEDS`."""
    number: int
    """Of the seed in its stage."""
    said: str
    """What is told when it begins."""
    steps: int = 0
    """0 for the script's own end."""
    cap_s: float | None = None
    """It is ended when it has trained for so long [s]."""
    row: str = ""
    """Name in the table; "" where the caller shows what came of it."""
    lr: float | None = None


Asking = Generator[Sequence[Wanted], list[Run], T]
"""Asks for runs that do not need each other, is sent what they came to, and returns what it found."""


def why_stopped(record: Recording, steps: int) -> str:
    """Why a run did not come to the end of its schedule; "" when it did.

    Args:
        record: Of the run.
        steps: That it was to take; 0 for the script's own end.
    """
    if record.failed_knobs:
        return next(iter(record.failed_knobs.values()))
    if record.race is not None and (record.race.killed or record.race.refused):
        return record.race.killed.replace("-", " ") or record.race.refused
    if record.outcome not in (Outcome.BUDGET, Outcome.ENDED):
        return record.outcome.value
    if any(loss is not None and not isfinite(loss) for loss in record.steps.losses):
        return Outcome.NON_FINITE.value
    if record.outcome is Outcome.BUDGET and (not steps or len(record.steps.total_s) < steps):
        return "out of time"
    return ""
