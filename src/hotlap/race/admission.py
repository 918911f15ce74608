"""What hotlap can change in a script to be sooner by the clock alone: batches of another size, layers of another size.

Some timed steps of each beside the untouched script rule out those that can be no sooner, before a whole run is spent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, log
from statistics import fmean, median

from hotlap.lab import Lab
from hotlap.race.compare import TIE
from hotlap.race.finals import Entry
from hotlap.race.result import Screened
from hotlap.race.trainings import Run, Trainings
from hotlap.records import AS_WRITTEN, Outcome, Pair, Setup
from hotlap.trials import blocks
from hotlap.trials.blocks import Window

_ADMISSION_S = 2.5
_SLOWEST, _SLOWEST_S = 6.0, 30.0  # times what the script as written takes, and time, after which a trial is cut off
_ADMISSIONS = 3  # blocks at most
_CLOSE = 0.1  # log ratio to no gain at all within which one is timed again
_FIRST = 5  # steps whose losses are those of an untrained network


@dataclass
class WhatIf(ABC):
    """One such change while it is screened."""

    step_ratio: float | None = field(default=None, kw_only=True)
    """Time of its step over that of the script's."""
    out: str = field(default="", kw_only=True)
    """Why it is not in the finals; "" when it is."""

    @property
    @abstractmethod
    def words(self) -> str:
        """Its name for people."""

    @property
    @abstractmethod
    def setup(self) -> Setup:
        """As a trial has it."""

    @abstractmethod
    def entry(self) -> Entry:
        """It in the finals."""

    @property
    @abstractmethod
    def why_not_sooner(self) -> str:
        """What to say of one that the clock rules out."""

    @property
    def growth(self) -> float:
        """Samples in its step over those of the script's."""
        return 1.0

    @property
    def samples_ratio(self) -> float | None:
        """Samples per second over those of the script."""
        return self.growth / self.step_ratio if self.step_ratio else None

    @property
    def most(self) -> float | None:
        """Times sooner that it can be at most; None where that is not known."""
        return 1 / self.step_ratio if self.step_ratio else None

    def failed(self, reason: str) -> None:
        """It could not be timed."""
        self.out = reason

    def screened(self) -> Screened:
        """What there is to tell of it."""
        return Screened(self.words, self.words, self.step_ratio, (), "", self.out)


def admission_window(trainings: Trainings, first: Run, available: int) -> Window:
    """What is timed of the script and of all that is to be admitted.

    Args:
        trainings: Of the race.
        first: A whole run of the script.
        available: Steps that the shortest of them takes.
    """
    record, step_s = first.record, trainings.step_s or first.step_s
    window = blocks.window_for(step_s, _ADMISSION_S, record.warmup_steps, available)
    steps = window.warmup + window.steps
    evaluations = 1 + steps / first.steps * record.evaluations  # their time counts towards the limit
    whole_s = sum(record.steps.total_s[:steps]) + evaluations * record.evaluation_s / max(1, record.evaluations)
    return replace(window, limit_s=max(_SLOWEST_S, _SLOWEST * whole_s))


def cut_off(lab: Lab, setup: Setup, window: Window) -> float | None:
    """Times the script's step that one takes whose trial was cut off by the window's limit; None when none was."""
    for record in lab.recordings.values():
        times = record.steps.total_s
        if record.trial.setup == setup and record.outcome is Outcome.BUDGET and len(times) < record.trial.steps:
            return fmean(times[1:] or times) / window.step_s
    return None


def admit(trainings: Trainings, what_ifs: Sequence[WhatIf], first: Run) -> None:
    """Time some steps of each beside the untouched script; one that can be no sooner is out.

    Args:
        trainings: Of the race.
        what_ifs: Those that are out already stay so.
        first: A whole run of the script.

    Raises:
        HotlapError: The script's optimizer, or its loader, cannot be changed from outside.
    """
    doubtful = [one for one in what_ifs if not one.out]
    if not doubtful:
        return
    available = min(first.steps, *(one.entry().horizon for one in doubtful))
    window = admission_window(trainings, first, available)
    ratios: dict[Setup, list[float]] = {one.setup: [] for one in doubtful}
    for _ in range(_ADMISSIONS):
        timed(trainings, doubtful, window, ratios)
        for one in doubtful:
            found = ratios[one.setup]
            one.step_ratio = median(found) if found else cut_off(trainings.lab, one.setup, window)
        doubtful = [one for one in doubtful if not one.out and one.most and abs(log(one.most)) < _CLOSE]
        if not doubtful:
            break
    for one in what_ifs:
        if not one.out and (one.most is None or one.most < 1 + TIE):
            one.out = one.why_not_sooner if one.most else "it could not be timed"
        trainings.show(one.words, stage="admitted", step_ratio=one.step_ratio, said=one.out)
    trainings.spent_on("admission")


def timed(trainings: Trainings, what_ifs: Sequence[WhatIf], window: Window, ratios: dict[Setup, list[float]]) -> None:
    """One block; one that cannot be timed is out, with the reason."""
    lab = trainings.lab
    pairs = {pair.setup: pair for pair in lab.block("admission", AS_WRITTEN, [one.setup for one in what_ifs], window)}
    reasons = {rejected.setup: rejected.reason for rejected in lab.rejected}
    for one in what_ifs:
        pair = pairs.get(one.setup)
        if pair is None:
            if cut_off(lab, one.setup, window) is None:
                one.failed(reasons.get(one.setup, "it could not be timed"))
            continue
        reference, own = (trainings.step_time(lab.recordings[trial]) for trial in (pair.reference, pair.candidate))
        ratios[one.setup].append(own / reference)  # of steps: a pair's own times are per sample
        if not trainings.metric.pattern and sums_its_loss(trainings, pair, one.growth):
            one.out = "its loss is a sum over the batch, which grows with the size: name another --metric"


def sums_its_loss(trainings: Trainings, pair: Pair, growth: float) -> bool:
    """Whether the losses of the untrained network are nearer to growing with the batch than to staying as they are."""
    curve = trainings.lab.curve(pair)
    reference, own = (
        [loss for loss in losses[:_FIRST] if loss is not None and isfinite(loss) and loss > 0]
        for losses in (curve.reference, curve.candidate)
    )
    if not reference or not own:
        return False
    return abs(log(median(own) / median(reference)) - log(growth)) < abs(log(median(own) / median(reference)))


def dearness(what_ifs: Sequence[WhatIf]) -> float:
    """Times the script's that all steps of an admitted one take, on average; 1.0 of none."""
    known = [1 / one.samples_ratio for one in what_ifs if not one.out and one.samples_ratio]
    return fmean(known) if known else 1.0
