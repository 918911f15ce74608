"""What hotlap can change in a script to be sooner by the clock alone: batches of another size, layers of another size.

Some timed steps of each beside the untouched script rule out those that can be no sooner, before a whole run is spent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, log
from statistics import fmean, median

from hotlap.confirm import curve_of
from hotlap.lab import Lab
from hotlap.race.compare import TIE
from hotlap.race.finals import Entry
from hotlap.race.result import Screened
from hotlap.race.trainings import Run, Trainings
from hotlap.records import AS_WRITTEN, Outcome, Setup
from hotlap.trials import blocks
from hotlap.trials.blocks import Window

_STAGE = "admission"
_ADMISSION_S = 2.5
_SLOWEST, _SLOWEST_S = 6.0, 30.0  # times what the script as written takes, and time, after which a trial is cut off
_ADMISSIONS = 3  # blocks at most: a busy machine once made one step ten times as long
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


def step_ratios(
    trainings: Trainings, setups: Sequence[Setup], window: Window, in_doubt: Callable[[Setup, float], bool]
) -> dict[Setup, float | None]:
    """Times the untouched script's step that each setup's takes; None where it could not be timed.

    Args:
        trainings: Of the race.
        setups: To time, each once in a block with the script.
        window: Of `admission_window`.
        in_doubt: Whether such a ratio of a setup is to be taken again; the middle one of up to three counts.
    """
    lab, doubtful = trainings.lab, list(setups)
    ratios: dict[Setup, list[float]] = {setup: [] for setup in setups}
    for _ in range(_ADMISSIONS):
        if not doubtful:
            break
        for pair in lab.block(_STAGE, AS_WRITTEN, doubtful, window):
            reference, own = (trainings.step_time(lab.recordings[trial]) for trial in (pair.reference, pair.candidate))
            ratios[pair.setup].append(own / reference)  # of steps: a pair's own times are per sample
        doubtful = [setup for setup in doubtful if ratios[setup] and in_doubt(setup, median(ratios[setup]))]
    return {setup: median(found) if found else cut_off(lab, setup, window) for setup, found in ratios.items()}


def why_not_timed(lab: Lab, setup: Setup) -> str:
    """What became of a setup that has no step ratio."""
    return next((one.reason for one in lab.rejected if one.setup == setup), "it could not be timed")


def admit(trainings: Trainings, what_ifs: Sequence[WhatIf], first: Run) -> None:
    """Time some steps of each beside the untouched script; one that can be no sooner is out.

    Args:
        trainings: Of the race.
        what_ifs: Those that are out already stay so.
        first: A whole run of the script.

    Raises:
        HotlapError: The script's optimizer, or its loader, cannot be changed from outside.
    """
    live = {one.setup: one for one in what_ifs if not one.out}
    if not live:
        return

    def in_doubt(setup: Setup, ratio: float) -> bool:
        most = replace(live[setup], step_ratio=ratio).most
        return most is not None and abs(log(most)) < _CLOSE

    window = admission_window(trainings, first, min(first.steps, *(one.entry().horizon for one in live.values())))
    ratios = step_ratios(trainings, list(live), window, in_doubt)
    for setup, one in live.items():
        one.step_ratio = ratios[setup]
        if one.most is None:
            one.failed(why_not_timed(trainings.lab, setup))
        elif sums_its_loss(trainings, one):
            one.out = "its loss is a sum over the batch, which grows with the size: name another --metric"
        elif one.most < 1 + TIE:
            one.out = one.why_not_sooner
    for one in what_ifs:
        trainings.show(one.words, stage="admitted", step_ratio=one.step_ratio, said=one.out)
    trainings.spent_on("admission")


def sums_its_loss(trainings: Trainings, one: WhatIf) -> bool:
    """Whether the losses of the untrained network are nearer to growing with the batch than to staying as they are."""
    pair = next((p for p in trainings.lab.pairs if p.stage == _STAGE and p.setup == one.setup), None)
    if pair is None or trainings.metric.pattern:
        return False
    curve = curve_of(trainings.lab, pair)
    reference, own = (
        [loss for loss in losses[:_FIRST] if loss is not None and isfinite(loss) and loss > 0]
        for losses in (curve.reference, curve.candidate)
    )
    if not reference or not own:
        return False
    grown = log(median(own) / median(reference))
    return abs(grown - log(one.growth)) < abs(grown)


def dearness(what_ifs: Sequence[WhatIf]) -> float:
    """Times the script's that all steps of an admitted one take, on average; 1.0 of none."""
    known = [1 / one.samples_ratio for one in what_ifs if not one.out and one.samples_ratio]
    return fmean(known) if known else 1.0
