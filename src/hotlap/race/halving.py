"""Who goes on from one rung to the next."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from math import exp, inf, isfinite, log
from typing import TypeVar

K = TypeVar("K")
Asked = TypeVar("Asked")
Told = TypeVar("Told")

ADMITTED = 1.75
"""Times the untouched script's step: the largest saving of steps in any fair table is about 1.7x (race.md 2)."""
FACTOR = 3.0
"""Between the first point of a search and its neighbours, and beyond the edge."""
SIGMAS = 2.0
"""A smaller gap between two runs is noise."""


def survivors(values: Mapping[K, float], keep: int, sigma: float, most: int | None = None) -> list[K]:
    """Those that go on within one rule, best first.

    A gap of less than two sigma to the last that is kept is noise, so what lies within it is kept as well.

    Args:
        values: The metric at the end of the rung, lower is better; infinite for a run that was ended.
        keep: How many go on.
        sigma: Standard deviation of the metric between seeds.
        most: Never more than this; None for no such limit.
    """
    ranked = sorted((key for key in values if isfinite(values[key])), key=lambda key: values[key])
    if len(ranked) <= keep:
        return ranked
    cut = values[ranked[keep - 1]] + SIGMAS * sigma
    kept = [key for place, key in enumerate(ranked) if place < keep or values[key] < cut]
    return kept[:most]


def edge(values: Mapping[float, float]) -> float | None:
    """The rate to try beyond the tried ones when the best of them lies at their edge; None when it does not.

    Args:
        values: Rate to the metric at the end of the rung.
    """
    finite = {rate: value for rate, value in values.items() if isfinite(value)}
    if not finite:
        return min(values) / FACTOR**2 if values else None  # everything blew up
    best = min(finite, key=lambda rate: finite[rate])
    if best == min(values):
        return best / FACTOR
    if best == max(values):
        return best * FACTOR
    return None


@dataclass(frozen=True)
class Reach:
    """How soon an arm came where the script's own rule, tuned, came at this rung."""

    time_s: float
    """Infinite when it did not."""
    final: float

    @property
    def rank(self) -> tuple[float, float]:
        """Sooner is better; among those that never came there, lower."""
        return self.time_s, self.final


def best_rules(reached: Mapping[K, Reach], count: int) -> list[K]:
    """The rules whose arms came there soonest."""
    return sorted(reached, key=lambda rule: reached[rule].rank)[:count]


NOTCH = 2.0 ** (1 / 4)
_HALF, _SHORTEST = 4, 13  # notches below the whole training: half of it, and what nobody tries


def find_horizon(
    steps: int, best: Callable[[int], Generator[Asked, Told, float]], runs: int, half: float, level: float
) -> Generator[Asked, Told, int]:
    """The shortest schedule that comes to a level of the metric, as a length in steps.

    A decaying schedule comes to its best at its end, so the horizon decides how soon an arm is there; without this
    search a faster rule is hidden by the length that the script happens to have. Bisection in quarters of an octave,
    then a straight line between the last miss and the last success.

    Args:
        steps: Of the whole training.
        best: Asks for a run with this horizon, and returns what it came to.
        runs: How many may be tried.
        half: What the run over half of the training came to.
        level: To come to; lower is better.

    Returns:
        The horizon; the whole training when no shorter one is known to reach the level.
    """
    known = {_HALF: half}
    reached, missed = (_HALF, _SHORTEST) if half <= level else (0, _HALF)
    for _ in range(runs):
        if missed - reached <= 1:
            break
        middle = min(reached + 3, (reached + missed) // 2)
        known[middle] = yield from best(horizon_of(steps, middle))
        if known[middle] <= level:
            reached = middle
        else:
            missed = middle
    if reached in known and isfinite(known.get(missed, inf)):
        share = (level - known[reached]) / (known[missed] - known[reached])
        return horizon_of(steps, reached + share * (missed - reached))
    return horizon_of(steps, reached)


def horizon_of(steps: int, notches: float) -> int:
    """The whole training shortened by so many notches of a quarter of an octave."""
    return max(1, round(steps * exp(-notches * log(NOTCH))))


def time_to(step: int | None, step_s: float) -> float:
    """Time to a crossing [s]; infinite for none."""
    return inf if step is None else step * step_s
