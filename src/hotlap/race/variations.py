"""Other schedules, momenta and clipping for the rules of the finals, one change at a time over half of the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import quantiles

from hotlap.race.arm import Arm
from hotlap.race.budget import RUNGS
from hotlap.race.halving import SIGMAS
from hotlap.race.rules import RULES, SCRIPT
from hotlap.race.runs import Asking
from hotlap.race.screening import Candidate, run_at
from hotlap.race.shapes import decays
from hotlap.race.trainings import Trainings

_SHAPES = ("linear", "one-cycle", "wsd", "cosine")
_AS_WRITTEN = "constant"  # of a script without a schedule, whose rate has been let down in a line so far
_MOMENTA = (0.5, 2.0)  # times what is left of a direction after a step
_UNBOUND = ("lion", "muon", "gradient-descent")  # whose step does not grow with the gradient, or is taken once an epoch
_FEWEST_NORMS = 10
_OUTLIER = 1.2  # times the level: where no gradient is longer, clipping changes little


def vary(trainings: Trainings, found: Candidate, count: int, sigma: float) -> Asking[None]:
    """Try so many changes of a rule's best arm; what ends lower by more than noise takes its place.

    The script's own rule is given the same choice. All run on the seed on which the arm came through.

    Args:
        trainings: Where they run.
        found: The rule; `best` and `half` may change.
        count: Runs over half of the training.
        sigma: Standard deviation of the metric between seeds.
    """
    assert found.best is not None
    assert found.half is not None
    seen = found.half.record.race
    norms = [norm for _, norm in seen.gradient_norms] if seen else []
    changes = _changes(found.best, found.rule, norms, seen.momentum if seen else 0.0)[:count]
    runs = yield from run_at(trainings, found, changes, len(RUNGS) - 1, None, varies=True)
    for change, run in zip(changes, runs):
        assert found.half is not None
        if takes_over(change, found.half.curve.final - run.curve.final, sigma):
            found.best, found.half = change, run


def takes_over(change: Arm, lower: float, sigma: float) -> bool:
    """Whether what ends so much lower is better by more than noise; what the script has itself needs no proof.

    >>> takes_over(Arm("script", schedule="constant"), 0.1, 1.0), takes_over(Arm("adam", schedule="constant"), 0.1, 1.0)
    (True, False)
    """
    as_written = change.rule == SCRIPT and change.schedule == _AS_WRITTEN
    return lower > (0.0 if as_written else SIGMAS * sigma)


def _changes(arm: Arm, rule: str, norms: Sequence[float], script: float = 0.0) -> list[Arm]:
    """Each differs from the arm in one thing; the likeliest to help first. The last is the script's own momentum."""
    likely = (_AS_WRITTEN, *_SHAPES) if arm.schedule == "linear" else _SHAPES
    shapes = [replace(arm, schedule=shape) for shape in likely if shape != arm.schedule] if decays(arm) else []
    usual = script if rule == SCRIPT else RULES[rule].default_momentum * bool(RULES[rule].momentum)
    own = arm.momentum or usual
    momenta = [replace(arm, momentum=round(1 - (1 - own) * factor, 4)) for factor in _MOMENTA if own]
    level = None if rule in _UNBOUND else clip_level(norms)
    clipped = [] if level is None else [replace(arm, clip=level)]
    return [*shapes[:3], *clipped, *momenta, *shapes[3:]]


def clip_level(norms: Sequence[float]) -> float | None:
    """Where one gradient in ten would be clipped; None where that is no outlier, or the script clips already.

    Google's tuning playbook, "How can I debug and mitigate optimization failures?".

    >>> clip_level([1.0] * 19 + [9.0])
    1.0
    """
    if len(norms) < _FEWEST_NORMS:
        return None
    level = quantiles(norms, n=10, method="inclusive")[-1]
    return float(f"{level:.3g}") if max(norms) > _OUTLIER * level else None
