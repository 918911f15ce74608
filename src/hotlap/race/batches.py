"""Other batch sizes of the unmodified script: which can be tried, and what each could save at most.

A batch size changes the data of every step, so it is a race of its own: the rule stays the script's, the learning rate
and the second beta follow the size, and arms are compared after equally many samples and by the clock, never by steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hotlap.errors import HotlapError
from hotlap.knobs import OPTIMIZER_RULE
from hotlap.race.admission import WhatIf
from hotlap.race.arm import Arm, likeness
from hotlap.race.finals import Entry
from hotlap.race.result import Screened
from hotlap.race.rules import SCRIPT
from hotlap.race.runs import Run
from hotlap.race.shapes import own_schedule, peak
from hotlap.records import Facts, Loader, Setup

TIMES = (0.5, 2.0, 4.0)
"""The script's own batch, where the user names no sizes."""
FEWEST_STEPS = 24
"""Of a whole training: fewer cannot be timed, after ten of warm-up."""


@dataclass
class Size(WhatIf):
    """A batch size while it is screened."""

    arm: Arm

    @property
    def words(self) -> str:
        """Its name for people."""
        return f"batch size {self.arm.batch}"

    @property
    def setup(self) -> Setup:
        """As a trial has it."""
        return Setup.of({OPTIMIZER_RULE: str(self.arm)})

    @property
    def growth(self) -> float:
        """Samples in its step over those of the script's."""
        return self.arm.growth

    @property
    def most(self) -> float | None:
        """Times sooner that it can be at most.

        A larger batch needs no fewer samples and a smaller one no fewer steps, when each has a rate that suits it.
        """
        return self.samples_ratio if self.growth > 1 else super().most

    @property
    def why_not_sooner(self) -> str:
        """By what it needs no fewer of."""
        if self.growth > 1:
            return f"it trains on {self.samples_ratio:.2f}x as many samples a second, and a larger batch needs no fewer"
        return f"its step takes {self.step_ratio:.2f}x as long, and a smaller batch needs no fewer of them"

    def entry(self) -> Entry:
        """It in the finals."""
        assert self.arm.horizon is not None
        return Entry(self.words, "batch", self.setup, self.arm.horizon, self.arm)

    def failed(self, reason: str) -> None:
        """It could not be timed; what the script makes impossible ends the race."""
        mark, _, clause = reason.partition(" could not take hold: ")
        refuse(mark == OPTIMIZER_RULE, clause)
        super().failed(reason)

    def screened(self) -> Screened:
        """With its pace in samples, which is what counts."""
        return replace(super().screened(), samples_ratio=self.samples_ratio)


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
