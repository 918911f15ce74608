"""A machine made of recordings: trials that take no time and have the noise of real ones.

Recordings of the untouched script stand in for its trials, in the order in which they ran, so that neighbours in a
block are neighbours in time. A setup is a factor on their times, and an error in its gradients, both as planted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain, cycle, islice
from pathlib import Path
from typing import TypeVar

from hotlap.records import Facts, Outcome, Recording, Setup, Signature, Steps, Trial
from hotlap.rounds import NOT_COUNTED, Turn, schedule
from hotlap.target import Target
from hotlap.trials.runner import RootKey
from hotlap.trials.warmup import warmup_of
from hotlap.verify.arms import ArmRecord

_UNIT = 2.0**-23
_STEADY = 10  # steps, after which the times of a recording are steady
T = TypeVar("T")


@dataclass
class RecordedRunner:
    """Trials that are drawn from recordings.

    Args:
        target: The training that was recorded.
        out: A folder for the logbook.
        facts: Of the recorded script.
        pool: Recordings of the untouched script, in order.
        seed: Where in the pool the replay begins.
        speed: How many times faster a setup is than the untouched script.
        error: Relative error of a setup's gradients; 0 for the same bits.
        start_s: How much later a setup starts.
        peak_bytes: What a step holds at most under a setup; None where that is not seen.
        parts: Whether two runs of a setup at one seed end with other weights.
        off: How far the losses of a trial are from those of its seed, after the steps that are compared.
        verified: See `Runner`.
        shares: See `Runner`.
    """

    target: Target
    out: Path
    facts: Facts
    pool: Sequence[Recording]
    seed: int = 0
    speed: Callable[[Setup], float] = lambda setup: 1.0
    error: Callable[[Setup], float] = lambda setup: 0.0
    start_s: Callable[[Setup], float] = lambda setup: 0.0
    peak_bytes: Callable[[Setup], int | None] = lambda setup: None
    parts: Callable[[Setup], bool] = lambda setup: False
    off: Callable[[Trial], float] = lambda trial: 0.0
    verified: Mapping[RootKey, Sequence[Signature]] | None = None
    shares: bool = False
    spent_s: float = field(default=0.0, init=False)
    """The time that the trials would have taken."""

    def __post_init__(self) -> None:
        """Begin anywhere in the pool."""
        self.begin(random.Random(self.seed).randrange(len(self.pool)))

    def begin(self, first: int) -> None:
        """Draw from this place of the pool on."""
        self._drawn = islice(cycle(self.pool), first, None)

    def run(self, trial: Trial, facts: Facts | None = None) -> Recording:
        """The next recording, as the trial's."""
        drawn = next(self._drawn)
        taken = trial.steps or _within(drawn.steps.total_s, trial.limit_s)
        # Losses follow from the seed, which a pair shares: those of the recording drawn would be another training's.
        losses = self.pool[trial.seed % len(self.pool)].steps.losses
        if off := self.off(trial):
            losses = tuple(
                loss if number < _STEADY or loss is None else loss + off for number, loss in enumerate(losses)
            )
        steps = self._steps(trial, replace(drawn.steps, losses=losses), taken)
        startup_s = (drawn.startup_s or 0.0) + self.start_s(trial.setup)
        wall_s = startup_s + sum(steps.total_s)
        self.spent_s += wall_s
        ended = Outcome.BUDGET if trial.steps or taken < len(drawn.steps.total_s) else drawn.outcome
        observed = self.facts if trial.purpose == "observe" else None
        times = {"startup_s": startup_s, "wall_s": wall_s}
        peak = self.peak_bytes(trial.setup)
        warmup = warmup_of(steps).steps  # not the recording's own: that was found in another number of steps
        hashes = {taken: {"weight": trial.id if self.parts(trial.setup) else "as ever"}}
        seen = {"hashes": hashes} if trial.purpose == "repeat" else {}
        known = {"facts": observed, "warmup_steps": warmup, "step_peak_bytes": peak, "seen": seen}
        return replace(drawn, trial=trial, outcome=ended, steps=steps, **known, **times)

    def ceiling(self) -> dict[str, float]:
        """Nothing: recordings do not tell."""
        return {}

    def _steps(self, trial: Trial, drawn: Steps, count: int) -> Steps:
        """The recorded steps, at the speed of the setup that each runs under."""
        if not trial.arms:
            return stretched(drawn, [1.0 / self.speed(trial.setup)] * count)
        options = trial.options
        turn = Turn(int(options["settle"]), int(options["keep"]))
        turns = [(0, False)] * int(options["first"])
        turns += islice(schedule(len(trial.arms), turn, trial.seed), count - len(turns))
        factors = [1.0 / self.speed(Setup.of({**trial.setup.values, **arm.values})) for arm in trial.arms]
        steps = stretched(drawn, [factors[place] for place, _ in turns])
        return replace(steps, arms=tuple(place + 1 if counted else NOT_COUNTED for place, counted in turns))

    def arm(self, trial: Trial) -> ArmRecord:
        """An arm whose gradients are off by what was planted, or by the noise that it is there to make."""
        compared = [int(step) for step in str(trial.options["compare"]).split(",")]
        error = float(trial.options.get("unit", 0.0)) if trial.purpose == "noise" else self.error(trial.setup)
        row = ["weight", 1.0, 1.0, error, error == 0, 1.0]
        updates = ["weight", 1.0, 1.0, min(error, _UNIT), error == 0, 1.0]
        event = {"counts": {}, "batches": ["batch"], "flags": [], "modules": [], "hyper": []}
        rows = {(what, step): [row] for what in ("gradient", "evaluation") for step in compared}
        rows |= {("update", step): [updates] for step in compared}
        calls = {(root.name, root.index): root.signatures for root in self.facts.roots}
        return ArmRecord(
            tuple({**event, "step": step} for step in range(1, trial.steps + 1)), rows, calls, checkpoint=("weight",)
        )


def _within(times: Sequence[float], limit_s: float) -> int:
    """Steps that end within a time; all of them for a limit of 0."""
    return sum(total <= limit_s for total in accumulate(times)) if limit_s else len(times)


def stretched(steps: Steps, factors: Sequence[float]) -> Steps:
    """As many steps as there are factors on their times; after the last one again from the first steady one."""
    count = len(factors)

    def again(values: Sequence[T]) -> Iterator[T]:
        return chain(values, cycle(values[_STEADY:] or values))

    def times(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(value * factor for value, factor in zip(again(values), factors)) if values else ()

    return Steps(
        total_s=times(steps.total_s),
        phases_s={phase: times(values) for phase, values in steps.phases_s.items()},
        samples=tuple(islice(again(steps.samples), count)),
        losses=tuple(islice(again(steps.losses), count)),
        faults=tuple(islice(again(steps.faults), count)),
        compiles=tuple([0] * count),
    )
