"""The shape of a learning rate over a run. Standard library only: both worlds read it."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from hotlap.race.arm import POINTS, points_of

_WARM_SHARE, _COOL_SHARE = 0.05, 0.2
_PEAK_SHARE, _FIRST, _LAST = 0.3, 1 / 25, 1 / 25e4  # torch's OneCycleLR


def shape_of(schedule: str) -> Callable[[float], float]:
    """The multiplier of the rate by the share of the horizon that lies behind; what follows the horizon is its end.

    Args:
        schedule: As `Arm.schedule`, except "script", whose shape the script alone knows.

    >>> shape_of("linear")(0.25)
    0.75
    """
    shape = _along(points_of(schedule)) if schedule.startswith(POINTS) else _SHAPES[schedule]
    return lambda share: shape(min(max(share, 0.0), 1.0))


def _along(points: tuple[tuple[float, float], ...]) -> Callable[[float], float]:
    def shape(share: float) -> float:
        for (before, low), (after, high) in pairwise(points):
            if share < after:
                return low + (high - low) * (share - before) / (after - before)
        return points[-1][1]

    return shape


def _cosine(share: float, start: float = 1.0, end: float = 0.0) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _one_cycle(share: float) -> float:
    """Smith and Topin 2017, with the shares of torch's OneCycleLR."""
    if share < _PEAK_SHARE:
        return _cosine(share / _PEAK_SHARE, _FIRST, 1.0)
    return _cosine((share - _PEAK_SHARE) / (1 - _PEAK_SHARE), 1.0, _LAST)


def _wsd(share: float) -> float:
    """Warm-up, stable, and a cool-down as 1 - sqrt (Hägele et al. 2024, arXiv 2405.18392)."""
    if share < _WARM_SHARE:
        return share / _WARM_SHARE
    return 1 - math.sqrt(max(0.0, share - 1 + _COOL_SHARE) / _COOL_SHARE)


_SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "linear": lambda share: 1 - share,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
    "wsd": _wsd,
}
