"""The learning-rate range test: one short run whose rate grows until the loss blows up.

It brackets the search of the script's own rule and decides nothing: where one curve is steepest depends on the seed and
on how fast the rate grows (Smith, arXiv 1506.01186; the issues of every library that picks a value from it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

from hotlap.race.arm import POINTS, Arm
from hotlap.race.rules import SCRIPT, Range

LOWEST, HIGHEST = 1e-3, 1e2  # times the script's own rate
_STEPS = 120
_CORNERS = 30  # of the straight lines that stand in for an exponential
_SMOOTHING = 0.9
_BLOWN_UP = 4.0  # times the best smoothed loss, as fastai stops
_SETTLED = 10  # steps before a best counts
_FALL = 10  # steps over which a fall is measured: from one to the next it is a batch's noise


@dataclass(frozen=True)
class RangeTest:
    """What the sweep showed."""

    points: tuple[tuple[float, float], ...]
    """Rate and smoothed loss."""
    edge: float
    """The rate at which it blew up, or the highest tried."""
    steepest: float
    """The rate at which the loss fell fastest."""

    def bracket(self, reference: float) -> Range:
        """Where to search: from well below the steepest fall to the edge; the script's own rate first, if inside."""
        low, high = self.steepest / 30, self.edge
        return Range(min(max(reference, low), high / 3), low, high)


def sweep(reference: float, steps: int) -> Arm:
    """The arm of the test: a multiplier on the rate of all groups, so that their ratios stay.

    Args:
        reference: The script's own highest rate.
        steps: Of its training.
    """
    span = LOWEST / HIGHEST
    corners = (f"{place / _CORNERS:.4g}/{span ** (1 - place / _CORNERS):.4g}" for place in range(_CORNERS + 1))
    horizon = min(_STEPS, steps)
    return Arm(SCRIPT, lr=reference * HIGHEST, schedule=POINTS + ",".join(corners), horizon=horizon)


def read(losses: Sequence[float | None], reference: float, horizon: int) -> RangeTest | None:
    """The test's answer from the losses of each step; None when too few were seen."""
    points: list[tuple[float, float]] = []
    mean, weight, best, edge = 0.0, 0.0, inf, reference * HIGHEST
    for step, loss in enumerate(losses, start=1):
        rate = reference * HIGHEST * (LOWEST / HIGHEST) ** (1 - min(1.0, step / horizon))
        if loss is None or not isfinite(loss):
            edge = rate
            break
        mean, weight = _SMOOTHING * mean + (1 - _SMOOTHING) * loss, _SMOOTHING * weight + (1 - _SMOOTHING)
        smooth = mean / weight
        points.append((rate, smooth))
        if step > _SETTLED:
            best = min(best, smooth)
            if smooth > _BLOWN_UP * best:
                edge = rate
                break
    if len(points) <= _SETTLED + 2:
        return None
    counted = points[_SETTLED:]
    fall = min(_FALL, len(counted) - 1)
    ends = zip(counted, counted[fall // 2 :], counted[fall:])
    return RangeTest(tuple(points), edge, min((after[1] - before[1], rate) for before, (rate, _), after in ends)[1])
