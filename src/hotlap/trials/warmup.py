"""Where the warm-up of a run ends: found in its step times, not assumed.

The first steps of a run are slow for reasons that pass: compilation, tuned kernels, a growing heap. Where they end is
the first cut that leaves about the most certain mean behind it (after MSER: White 1997, "An effective truncation
heuristic for bias reduction in simulation output").
"""

from __future__ import annotations

from math import sqrt
from statistics import fmean, median, pstdev
from typing import NamedTuple

from hotlap.records import Steps

_LEAST = 10
_BATCH = 5  # steps; the median of each, for a single slow step is no warm-up
_LEAST_BATCHES = 8
_SHIFT = 0.03  # of the step; a smaller change of pace is noise of the machine
_SIGMAS = 3.0
_FEW = 0.1  # of the steps: where every batch has a size of its own, none is special
_NEARLY = 1.2  # past the change the error is flat, and where its minimum lies is luck


class Warmup(NamedTuple):
    """The steps to discard."""

    steps: int
    steady: bool
    """False when the pace changes after them as well, so that no part of the run stands for the rest."""


def warmup_of(steps: Steps) -> Warmup:
    """At least ten steps, all up to the last one that compiled a graph, and those before the pace settled.

    In an interleaved trial the pace changes by design: there only the first two count.
    """
    least = max(_LEAST, last_compile(steps) + 1)
    times = steps.total_s[least:]
    paces = [median(times[i : i + _BATCH]) for i in range(0, len(times) - _BATCH + 1, _BATCH)]
    if any(steps.arms) or len(paces) < _LEAST_BATCHES:
        return Warmup(least, steady=True)
    cut = _cut(paces)
    if cut and not _differ(paces[:cut], paces[cut:]):
        cut = 0
    middle = (cut + len(paces)) // 2
    return Warmup(least + _BATCH * cut, steady=not _differ(paces[cut:middle], paces[middle:]))


def last_compile(steps: Steps) -> int:
    """The last step that compiled a graph, from 0; 0 of none."""
    return max((i for i in range(1, len(steps.compiles)) if steps.compiles[i] > steps.compiles[i - 1]), default=0)


def counted(steps: Steps, first: int, last: int | None = None) -> list[int]:
    """Places of the steps that stand for the rest, from 0: without the first of each size of batch, if they are few.

    A library may try out kernels for every new shape, once in a training: cuDNN's benchmark takes half a second for an
    epoch's last, smaller batch.
    """
    every = range(len(steps.total_s))[first:last]
    firsts = {size: place for place, size in reversed([*enumerate(steps.samples)])}
    new = set(firsts.values()) & set(every)
    return [place for place in every if place not in new or len(new) > _FEW * len(every)]


def _cut(paces: list[float]) -> int:
    """The fewest to leave out, half at most, with which the mean of the rest is about as certain as it can be."""
    errors = [pstdev(paces[cut:]) / sqrt(len(paces) - cut) for cut in range(len(paces) // 2 + 1)]
    return next(cut for cut, error in enumerate(errors) if error <= _NEARLY * min(errors))


def _differ(before: list[float], after: list[float]) -> bool:
    shift = abs(fmean(before) - fmean(after))
    error = pstdev(after) * sqrt(1 / len(before) + 1 / len(after))
    return shift > _SHIFT * fmean(after) and shift > _SIGMAS * error
