"""What one race answered; everything in it can be recomputed from the logbook."""

from __future__ import annotations

from dataclasses import dataclass

from hotlap.race.compare import Comparison, FinalRun
from hotlap.race.goals import Goals
from hotlap.race.range_test import RangeTest
from hotlap.records import Facts, Setup


@dataclass(frozen=True)
class Metric:
    """The number that is raced for."""

    pattern: str = ""
    """A regular expression with one group that finds it in the script's output; "" for the training loss."""
    grows: bool = False
    """More of it is better."""

    @property
    def label(self) -> str:
        """What to call it at an axis."""
        return "metric" if self.pattern else "training loss"

    @property
    def words(self) -> str:
        """What to call it in a sentence."""
        return f"what {self.pattern!r} finds in the output" if self.pattern else "training loss, mean over a window"

    def shown(self, value: float) -> float:
        """A value as the script has it, from one of which lower is better, or back."""
        return -value if self.grows else value


@dataclass(frozen=True)
class Row:
    """A line of the live table."""

    name: str
    stage: str = ""
    lr: float | None = None
    value: float | None = None
    step_ratio: float | None = None
    said: str = ""


@dataclass(frozen=True)
class Tried:
    """One setting of a rule at one rung."""

    arm: str
    lr: float | None
    steps: int
    """Of the rung: the whole schedule was run over so many."""
    final: float | None
    """The metric at its end, as the script has it; None for a run that was ended."""
    stopped: str
    trial: str
    varies: bool = False
    """Another schedule, momentum or clipping at a rate that was tried before, so no point of the search for rates."""


@dataclass(frozen=True)
class Screened:
    """What became of a rule before the finals."""

    rule: str
    words: str
    step_ratio: float | None
    """Its step's time over that of the script as written."""
    tried: tuple[Tried, ...]
    best: str
    """Its best arm; "" when it has none."""
    out: str
    """Why it is not in the finals; "" when it is."""
    samples_ratio: float | None = None
    """Of a batch size: samples per second over those of the script as written."""


@dataclass(frozen=True)
class Finalist:
    """One arm of the finals."""

    name: str
    role: str
    """script (as written), incumbent (the script's own rule, tuned), challenger, variant, batch (of another size) or
    layers (of other sizes)."""
    arm: str
    """As the knob takes it; "" for the script as written."""
    setup: Setup
    horizon: int
    """Steps of its schedule."""
    runs: tuple[FinalRun, ...]
    reached: dict[str, int]
    """Goal to the number of runs that came to it."""
    median_s: dict[str, float | None]
    """Goal to the median time, misses counted as never."""
    median_ends_s: dict[str, tuple[float | None, float | None] | None]
    """Its 95 % interval, an end that is never None; None for fewer than six runs."""
    expected_s: dict[str, float | None]
    """Goal to the expected time with new starts after a miss."""
    step_s: float
    final: float | None
    """Mean of the metric at the end; None when a run never came there."""
    state_bytes: int | None
    vs_script: dict[str, Comparison]
    """By goal; empty for the script as written."""
    vs_incumbent: Comparison | None
    """At the default goal."""
    non_inferior: bool | None
    """Whether it ends as well as the script as written; None when that could not be told."""
    curves: tuple[tuple[tuple[int, float], ...], ...]
    """Points of each run, as the script has the metric."""
    startup_s: float | None = None
    """From the start of the process to the first step, compilation and all; outside of the times to a goal."""


@dataclass(frozen=True)
class RaceResult:
    """What one race answered."""

    target: str
    """The command line as the user typed it."""
    facts: Facts
    metric: Metric
    shape: str
    seeds: int
    steps: int
    """Of the script's own training."""
    goals: Goals
    screened: tuple[Screened, ...]
    finalists: tuple[Finalist, ...]
    """As written first, then the tuned incumbent."""
    winner: str
    """Name of the finalist that is proven sooner; "" when none is."""
    leader: str
    """Name of the one that was soonest, proven or not; "" without finals."""
    reason: str
    """In one sentence, what decided."""
    speedup_vs_script: Comparison | None
    """Of the winner, else of the leader."""
    speedup_vs_tuned_incumbent: Comparison | None
    """The same; only this one may be called an effect of the rule."""
    range_test: RangeTest | None
    """None when it was not asked for."""
    cost_s: dict[str, float]
    """Part of the race to the time that it took."""
    spent_s: float
    forecast_s: float
    runs: int
    notes: tuple[str, ...]

    @property
    def nothing_to_gain(self) -> bool:
        """Screening ruled out every arm that there was to try, and timed one at least: what fails tells nothing."""
        return any(one.step_ratio for one in self.screened) and all(one.out for one in self.screened)

    @property
    def proven(self) -> bool:
        """There is a winner."""
        return bool(self.winner)

    def finalist(self, name: str) -> Finalist | None:
        """The finalist of that name."""
        return next((finalist for finalist in self.finalists if finalist.name == name), None)
