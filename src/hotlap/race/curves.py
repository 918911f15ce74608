"""The learning curve of one run: the metric on a grid of steps that is the same for every arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from statistics import fmean, median

from hotlap.records import NON_FINITE

POINTS = 64  # of the grid over the whole training
_WINDOW = 2  # grid intervals whose mean is a point of the training-loss curve
_MEDIAN_OF = 3  # consecutive points that must have passed on the median: a lucky point is no crossing
_COARSE = 9  # points of a whole training; with fewer, the median of three would hide a third of it


@dataclass(frozen=True)
class LearningCurve:
    """What one run reached after how many steps.

    The values are such that lower is better: a metric that is to grow is held with its sign changed.
    """

    points: tuple[tuple[int, float], ...]
    """Step, and the metric there."""
    steps: int
    """Steps that the run took."""
    stopped: str = ""
    """Why it was ended before its schedule was; "" when it came to its end."""
    coarse: bool = False
    """The curves of this race have few points, and each counts: of every arm alike, however short its horizon is."""

    @property
    def final(self) -> float:
        """The metric at the end of the schedule; infinite when the run never came there."""
        if self.stopped or not self.points:
            return inf
        return self.points[-1][1]

    @property
    def best(self) -> float:
        """The lowest value that `crossing` would find reached."""
        return min((value for _, value in self.smoothed), default=inf)

    @property
    def smoothed(self) -> list[tuple[int, float]]:
        """The median of each three consecutive points at the step of the last; of a coarse curve the points."""
        if self.coarse:
            return list(self.points)
        return [
            (self.points[place][0], median(value for _, value in self.points[place - _MEDIAN_OF + 1 : place + 1]))
            for place in range(_MEDIAN_OF - 1, len(self.points))
        ]

    def at(self, step: int) -> float:
        """The metric at the last point that is not behind this step; infinite before the first."""
        return next((value for at, value in reversed(self.points) if at <= step), inf)


def spacing(steps: int) -> int:
    """Steps between two points of the grid, for a training of so many steps."""
    return max(1, steps // POINTS)


def is_coarse(steps: int, every: int) -> bool:
    """Whether a training of so many steps has too few points, so many steps apart, to leave any to chance."""
    return steps // every < _COARSE


def loss_curve(losses: Sequence[float | None], every: int, stopped: str = "", *, coarse: bool = False) -> LearningCurve:
    """The training loss as a window mean on the grid.

    Args:
        losses: Of each step from the first.
        every: Steps between two points; the window spans two of them.
        stopped: See `LearningCurve`.
        coarse: See `LearningCurve`.
    """
    points: list[tuple[int, float]] = []
    for step in range(every, len(losses) + 1, every):
        window = [loss for loss in losses[max(0, step - _WINDOW * every) : step] if loss is not None]
        if window and all(map(isfinite, window)):
            points.append((step, fmean(window)))
    return LearningCurve(tuple(points), len(losses), stopped, coarse)


def metric_curve(
    values: Sequence[tuple[int, float]], steps: int, *, grows: bool, stopped: str = "", coarse: bool = False
) -> LearningCurve:
    """The script's own metric where the script printed it.

    Args:
        values: Step and value, in the order in which they were printed; the last one of a step counts.
        steps: That the run took.
        grows: More of it is better.
        stopped: See `LearningCurve`.
        coarse: See `LearningCurve`.
    """
    if values and not isfinite(values[-1][1]):
        stopped = stopped or NON_FINITE  # it has diverged, whatever it had come to before
    last = {step: value for step, value in values if isfinite(value)}
    points = tuple((step, -value if grows else value) for step, value in sorted(last.items()))
    return LearningCurve(points, steps, stopped, coarse)


def crossing(curve: LearningCurve, goal: float) -> int | None:
    """The first step at which the median of three consecutive points is at the goal; None when it never is.

    Source: of the kind of AlgoPerf's fixed cadence: noise buys an arm no extra chances.
    """
    return next((step for step, value in curve.smoothed if value <= goal), None)
