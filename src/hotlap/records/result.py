"""What a tune concludes, down to the one record that every report shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from hotlap.records.facts import Facts
from hotlap.records.trial import AS_WRITTEN, Setup
from hotlap.records.views import LargestBatch
from hotlap.records.words import Contract, Estimate, Goal, Status, Value, Word


@dataclass(frozen=True)
class Finding:
    """What an audit found."""

    audit: str
    area: str
    status: Status
    headline: str
    wasted: Estimate | None
    evidence: dict[str, Value]
    knobs: tuple[str, ...]
    advice: str
    """What to change in the code, if it can be said."""


@dataclass(frozen=True)
class Gate:
    """One gate's answer."""

    name: str
    word: Word
    reason: str
    step: int | None = None
    """First step that differs."""
    parameter: str = ""
    """First parameter that differs."""
    gap: float | None = None
    """Worst relative error seen."""
    band: float | None = None
    """What the noise arms allow at that place."""


@dataclass(frozen=True)
class Verdict:
    """Does it learn the same?"""

    word: Word
    gate: str
    """The gate that decided."""
    reason: str
    gates: tuple[Gate, ...]
    seeds: int
    guilty: tuple[str, ...] = ()
    """The knobs at fault, when one was found."""
    repeats: bool = True
    """Whether the script as written gives the same bits twice; where it does not, no setup can."""


@dataclass(frozen=True)
class Rejected:
    """A setting that was tried or considered and is not in the plan."""

    setup: Setup
    reason: str
    evidence: Estimate | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Kept:
    """A setting in the plan."""

    knob: str
    area: str
    value: Value
    contract: Contract
    share: Estimate | None
    """Its own share of the speed-up; None when that was not measured."""
    saving: Estimate | None = None
    """Its own share of the memory saved, as in `Result`; None when that was not measured."""


@dataclass(frozen=True)
class Pair:
    """Reference and candidate of one block, as they ran back to back."""

    block: int
    seed: int
    setup: Setup
    reference: str
    """Trial id."""
    candidate: str
    """Trial id."""
    reference_s: float
    """Mean time per step, with the epoch's start spread over its steps."""
    candidate_s: float
    stage: str
    """noise, screen, combine, confirm or leave-one-out."""
    beside: Setup = AS_WRITTEN
    """The reference's setup."""
    round: int = 0
    """Of an interleaved trial, from 1, where one process ran both; 0 when each had a process of its own."""
    reference_bytes: int = 0
    """The most that the training process, or its device, held during the steps; 0 where that was not seen."""
    candidate_bytes: int = 0


@dataclass(frozen=True)
class Phases:
    """Mean time of each phase in a steady step [s]; they sum to the step."""

    total_s: float
    phases_s: dict[str, float]


@dataclass(frozen=True)
class Curve:
    """The losses of one confirmation pair, step by step from the first."""

    seed: int
    reference: tuple[float | None, ...]
    candidate: tuple[float | None, ...]


@dataclass(frozen=True)
class Result:
    """What one tune answered; everything in it can be recomputed from the logbook."""

    target: str
    """The command line as the user typed it."""
    facts: Facts
    speedup: Estimate | None
    """Per training step; None when nothing is proven."""
    speedup_run: Estimate | None
    """The whole run with start-up, compilation and evaluation; None when the length is not known."""
    verdict: Verdict | None
    """None when nothing was there to judge."""
    kept: tuple[Kept, ...]
    rejected: tuple[Rejected, ...]
    skipped: dict[str, str]
    """Knob id to the reason why it was not tried."""
    levels: dict[str, Estimate | None]
    """Speed-up when only settings up to this contract are kept; None when that was not measured."""
    baseline: Phases
    tuned: Phases | None
    pairs: tuple[Pair, ...]
    curves: tuple[Curve, ...]
    findings: tuple[Finding, ...]
    noise: float
    """Standard deviation of a pair's log ratio, pooled over all blocks."""
    smallest_gain: float
    """The smallest gain that this tune could have proven, as a share."""
    tuning_s: float
    payback_steps: int | None
    """Training steps after which the plan has repaid its start-up cost; None when it costs none or never pays."""
    evaluation_share: float
    """Share of the observed time that the script spent in evaluation."""
    peak_bytes: tuple[int, int]
    """Peak memory of the training process: as written, tuned."""
    ceiling: dict[str, float]
    """Measured ceilings of the machine, see `ceilings.Ceilings`; empty when not measured."""
    notes: tuple[str, ...]
    bounds: dict[str, Estimate] = field(default_factory=dict)
    """Area to how many times faster a step would be without that area's work; empty when not measured."""
    prices: dict[str, Estimate] = field(default_factory=dict)
    """Knob that undoes what the script asks for to how many times faster a step is without that."""
    load: dict[str, float] = field(default_factory=dict)
    """Mean over the timed trials of what took CPU time from them, as shares of the machine's; see `trials.load`."""
    asked: Setup = AS_WRITTEN
    """Settings that are in the plan because the user asked for them, whatever they cost."""
    asked_speedup: Estimate | None = None
    """Per training step, under these alone; below 1 they cost time. None when that was not measured."""
    added_speedup: Estimate | None = None
    """Per training step, of the whole plan over these alone; None when it holds nothing else."""
    cut_short: str = ""
    """What the budget left undone before anything was proven; "" when the answer is complete."""
    goal: Goal = Goal.SPEED
    saving: Estimate | None = None
    """How many times less memory a step holds at most, unit "x"; None when that is not the goal, or not proven."""
    asked_saving: Estimate | None = None
    """The same of the asked-for settings alone; below 1 they cost memory. None when that was not measured."""
    added_saving: Estimate | None = None
    """The same of the whole plan over these alone; None when it holds nothing else."""
    slowdown_limit: float = 0.0
    """How much slower a step may be for that, as a share."""
    largest: tuple[LargestBatch, ...] = ()
    """The largest batch that fits, as written and under the plan, where that was asked for."""


@dataclass(frozen=True)
class Verification:
    """What `hotlap verify` found; None stands for "no answer", which is never a yes."""

    target: str
    facts: Facts
    setup: Setup
    faster: bool | None
    """Than the script as written, or than the settings alone that promise to repeat the training."""
    same: bool | None
    """Whether it learns the same, and keeps what its settings promise."""
    speedup: Estimate | None
    """Per training step, over the pairs that were run."""
    verdict: Verdict
    reason: str
    """In one sentence, what decided."""
    noise: float
    smallest_gain: float
    """The smallest gain that could have been proven, as a share."""
    spent_s: float
    for_speed: bool = True
    """Not so of settings that only promise to repeat the training: `speedup` is then their price, and `faster` None."""

    @property
    def exit_code(self) -> int:
        """0 proven faster and the same, 3 not so, 1 no answer; how fast it is counts where that was the question."""
        answers = (self.faster, self.same) if self.for_speed else (self.same,)
        if False in answers:
            return 3
        return 0 if all(answers) else 1
