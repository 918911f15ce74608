"""Other batch sizes of the unmodified script: which can be tried, and what each could save at most.

A batch size changes the data of every step, so it is a race of its own: the rule stays the script's, the learning rate
and the second beta follow the size, and arms are compared after equally many samples and by the clock, never by steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, log
from statistics import fmean, median

from hotlap.errors import HotlapError
from hotlap.knobs import OPTIMIZER_RULE
from hotlap.race.arm import Arm, likeness
from hotlap.race.compare import TIE
from hotlap.race.finals import Entry
from hotlap.race.result import Screened
from hotlap.race.rules import SCRIPT
from hotlap.race.shapes import own_schedule, peak
from hotlap.race.trainings import Run, Trainings
from hotlap.records import AS_WRITTEN, Facts, Loader, Pair, Setup
from hotlap.trials import blocks
from hotlap.trials.blocks import Window

TIMES = (0.5, 2.0, 4.0)
"""The script's own batch, where the user names no sizes."""
FEWEST_STEPS = 24
"""Of a whole training: fewer cannot be timed, after ten of warm-up."""
_ADMISSION_S = 2.5  # window of the admission test, as that of rules
_ADMISSIONS = 3  # blocks at most
_CLOSE = 0.1  # log ratio to no gain at all within which a size is timed again
_FIRST = 5  # steps whose losses are those of an untrained network


@dataclass
class Size:
    """A batch size while it is screened."""

    arm: Arm
    step_ratio: float | None = None
    """Time of its step over that of the script's."""
    out: str = ""

    @property
    def words(self) -> str:
        """Its name for people."""
        return f"batch size {self.arm.batch}"

    @property
    def setup(self) -> Setup:
        """As a trial has it."""
        return Setup.of({OPTIMIZER_RULE: str(self.arm)})

    @property
    def samples_ratio(self) -> float | None:
        """Samples per second over those of the script."""
        return self.arm.growth / self.step_ratio if self.step_ratio else None

    @property
    def most(self) -> float | None:
        """Times sooner that it can be at most.

        A larger batch needs no fewer samples and a smaller one no fewer steps, when each has a rate that suits it.
        """
        larger = self.arm.growth > 1
        return self.samples_ratio if larger else 1 / self.step_ratio if self.step_ratio else None

    def entry(self) -> Entry:
        """It in the finals."""
        assert self.arm.horizon is not None
        return Entry(self.words, "batch", self.setup, self.arm.horizon, self.arm)

    def screened(self) -> Screened:
        """What there is to tell of it."""
        return Screened(self.words, self.words, self.step_ratio, (), "", self.out, self.samples_ratio)


def loader_that_trains(facts: Facts) -> Loader:
    """The one whose batch size can be changed.

    Raises:
        HotlapError: There is none, or it cannot be told from others.
    """
    training = [loader for loader in facts.loaders if loader.trains]
    kinds = {like(loader): loader for loader in training}
    refuse(not kinds, "no DataLoader feeds its training steps")
    found = training[0]
    name = found.dataset.rpartition(":")[2]
    refuse(len(kinds) > 1, f"{len(kinds)} different DataLoaders hand batches to a network that computes gradients")
    refuse(found.length is None, f"its dataset {name} is iterable, and cuts the data into batches as it likes")
    refuse(found.size is None, f"the batches of {name} are not made by torch's own BatchSampler")
    others = {like(loader) for loader in facts.loaders if not loader.trains}
    refuse(like(found) in others, f"a DataLoader that does not train is built like the one that does, over {name}")
    return found


def like(loader: Loader) -> str:
    """What it is like."""
    return likeness(loader.size, loader.length, loader.shuffles, loader.dataset)


def refuse(holds: bool, clause: str) -> None:
    """Say that the batch size of this script cannot be changed from outside, when that holds.

    Raises:
        HotlapError: With the clause.
    """
    if holds:
        fix = "race the script's own argument for it, as hotlap race --arm '--batch-size N' train.py"
        raise HotlapError(
            "no-batch-size", f"The batch size of this script cannot be set from outside: {clause}.", fix=fix
        )


def offered(loader: Loader, wanted: Sequence[int], first: Run, steps: int) -> list[Size]:
    """The sizes of the race, smallest first; those that are out of the question say why.

    Args:
        loader: The one that trains.
        wanted: By the user; () for `TIMES` the script's own.
        first: A whole run of the script, for the schedule of its rate.
        steps: That it took.

    Raises:
        HotlapError: No size but the script's own is left.
    """
    own, length = loader.size or 1, loader.length or 0
    sizes = sorted({size for size in wanted or [int(own * times) for times in TIMES] if size >= 1} - {own})
    refuse(not sizes, f"its batch is {own}, and no other size is left to try")
    rates = first.record.race.rates if first.record.race else ()
    schedule = own_schedule(rates, steps)
    base = Arm(SCRIPT, schedule=schedule or "script", horizon=steps, reference=peak(rates) if schedule else None)
    found: list[Size] = []
    for size in sizes:
        horizon = max(1, round(steps * _batches(loader, size) / _batches(loader, own)))
        one = Size(replace(base, horizon=horizon, batch=size, of=like(loader)))
        if size > length:
            one.out = f"the dataset has {length} samples"
        elif horizon < FEWEST_STEPS:
            one.out = f"the whole training would be {horizon} step{'' if horizon == 1 else 's'}"
        found.append(one)
    return found


def _batches(loader: Loader, size: int) -> float:
    """In an epoch; what a BatchSampler of the script's own making drops is not known."""
    known = replace(loader, batch_size=size).batches if loader.batch_size else None
    return known or (loader.length or 1) / size


def admit(trainings: Trainings, sizes: Sequence[Size], first: Run) -> None:
    """Time some steps of each size beside the untouched script; one that can be no sooner is out.

    Raises:
        HotlapError: The script's optimizer, or its loader, cannot be changed from outside.
    """
    doubtful = [size for size in sizes if not size.out]
    if not doubtful:
        return
    available = min(first.steps, *(size.arm.horizon or 1 for size in doubtful))
    window = blocks.window_for(first.step_s, _ADMISSION_S, first.record.warmup_steps, available)
    ratios: dict[Setup, list[float]] = {size.setup: [] for size in doubtful}
    for _ in range(_ADMISSIONS):
        timed(trainings, doubtful, window, ratios)
        for size in doubtful:
            size.step_ratio = median(ratios[size.setup]) if ratios[size.setup] else None
        doubtful = [size for size in doubtful if not size.out and size.most and abs(log(size.most)) < _CLOSE]
        if not doubtful:
            break
    for size in sizes:
        size.out = size.out or why_not_sooner(size)
        trainings.show(size.words, stage="admitted", step_ratio=size.step_ratio, said=size.out)
    trainings.spent_on("admission")


def timed(trainings: Trainings, sizes: Sequence[Size], window: Window, ratios: dict[Setup, list[float]]) -> None:
    """One block; a size that cannot be timed is out, with the reason."""
    lab = trainings.lab
    pairs = {pair.setup: pair for pair in lab.block("admission", AS_WRITTEN, [size.setup for size in sizes], window)}
    reasons = {rejected.setup: rejected.reason for rejected in lab.rejected}
    for size in sizes:
        pair = pairs.get(size.setup)
        if pair is None:
            size.out = reasons.get(size.setup, "it could not be timed")
            mark, _, clause = size.out.partition(" could not take hold: ")
            refuse(mark == OPTIMIZER_RULE, clause)
            continue
        reference, own = (trainings.step_time(lab.recordings[trial]) for trial in (pair.reference, pair.candidate))
        ratios[size.setup].append(own / reference)  # of steps: a pair's own times are per sample
        if not trainings.metric.pattern and sums_its_loss(trainings, pair, size.arm.growth):
            size.out = "its loss is a sum over the batch, which grows with the size: name another --metric"


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


def dearness(sizes: Sequence[Size]) -> float:
    """Times the script's that all steps of an admitted size take, on average; 1.0 of none."""
    known = [1 / size.samples_ratio for size in sizes if not size.out and size.samples_ratio]
    return fmean(known) if known else 1.0


def why_not_sooner(size: Size) -> str:
    """Why a size cannot win, by the clock alone; "" when it may."""
    if size.most is None or size.most >= 1 + TIE:
        return "" if size.most else "it could not be timed"
    if size.arm.growth > 1:
        return f"it trains on {size.samples_ratio:.2f}x as many samples a second, and a larger batch needs no fewer"
    return f"its step takes {size.step_ratio:.2f}x as long, and a smaller batch needs no fewer of them"
