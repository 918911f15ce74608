"""Other schedules and momenta for the rules that reach the finals, one change at a time over half of the training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hotlap.race.arm import Arm
from hotlap.race.budget import RUNGS
from hotlap.race.halving import SIGMAS
from hotlap.race.rules import RULES, SCRIPT
from hotlap.race.screening import Candidate, run_at
from hotlap.race.shapes import decays
from hotlap.race.trainings import Trainings

_SHAPES = ("one-cycle", "wsd", "cosine")


def vary(trainings: Trainings, found: Candidate, count: int, sigma: float) -> None:
    """Try so many changes of a rule's best arm; what ends lower by more than noise takes its place.

    Every rule of the finals gets as many, the script's own among them, on the seed on which the arm came through.

    Args:
        trainings: Where they run.
        found: The rule; `best` and `half` may change.
        count: Runs over half of the training.
        sigma: Standard deviation of the metric between seeds.
    """
    assert found.best is not None
    assert found.half is not None
    for change in _changes(found.best, found.rule)[:count]:
        run = run_at(trainings, found, change, len(RUNGS) - 1, None)
        if run.curve.final < found.half.curve.final - SIGMAS * sigma:
            found.best, found.half = change, run


def _changes(arm: Arm, rule: str) -> list[Arm]:
    """Each differs from the arm in one thing; the likeliest to help first."""
    shapes: Iterator[Arm] = (replace(arm, schedule=shape) for shape in _SHAPES if shape != arm.schedule)
    made = list(shapes) if decays(arm) else []  # averaging rules want none
    if rule != SCRIPT and RULES[rule].momentum:
        own = arm.momentum or RULES[rule].default_momentum
        made[2:2] = [replace(arm, momentum=round(1 - (1 - own) * factor, 4)) for factor in (0.5, 2.0) if own]
    return made
