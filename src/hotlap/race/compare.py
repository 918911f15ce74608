"""Two arms over paired seeds: how many times sooner one is at the goal, and whether that is proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import exp, inf, isfinite, log, sqrt
from statistics import fmean, median, stdev
from typing import TypeVar

import numpy as np
from scipy.special import bdtr, stdtrit

from hotlap.records import Estimate
from hotlap.stats import bad_blocks

ALPHA = 0.05
TIE = 0.03
"""A ratio whose interval lies within so much of one is no difference that a user would notice."""
FEW = 6
"""Pairs under which every point is shown, and no interval."""
_OFTEN = 0.8  # of its runs: how often the goal's own definition has the untouched script come to it
_ROUNDING = 1e-12  # of a sum of log ratios: flips no further apart are tied
_MARGIN = 0.02  # of the improvement: what an arm may end worse by, as in the learning check
K = TypeVar("K")


@dataclass(frozen=True)
class FinalRun:
    """One run of the finals."""

    trial: str
    seed: int
    steps: int
    """That it took."""
    step_s: float
    """Mean, evaluation apart."""
    final: float | None
    """The metric at its end, lower is better; None when it was ended before."""
    crossings: dict[str, int | None]
    """Goal to the step at which it was reached."""
    stopped: str = ""

    def time_s(self, goal: str) -> float | None:
        """Time to a goal; None when it was not reached."""
        step = self.crossings[goal]
        return None if step is None else step * self.step_s

    @property
    def spent_s(self) -> float:
        """Time in training steps."""
        return self.steps * self.step_s


@dataclass(frozen=True)
class Comparison:
    """How many times sooner a candidate is at the goal than a reference."""

    speedup: Estimate | None
    """Geometric mean of the paired ratios of time; its interval where there are enough pairs, else the range."""
    bound: str
    """"at least" where the reference missed the goal, "about" where the candidate did; "" for a measured ratio."""
    ratios: tuple[float, ...]
    """Of each pair."""
    p: float
    """Two-sided, by exact sign flips; before the correction for several comparisons."""
    proven: bool
    """Sooner, with everything that a claim takes."""
    reason: str

    @property
    def indicative(self) -> bool:
        """Too few pairs for an interval."""
        return len(self.ratios) < FEW


def reached(runs: Sequence[FinalRun], goal: str) -> int:
    """How many came to the goal."""
    return sum(run.crossings[goal] is not None for run in runs)


def median_s(runs: Sequence[FinalRun], goal: str) -> float | None:
    """Median time to the goal, misses counted as never; None when that is never."""
    times = [run.time_s(goal) for run in runs]
    middle = median(inf if time is None else time for time in times)
    return middle if isfinite(middle) else None


def median_ends_s(runs: Sequence[FinalRun], goal: str) -> tuple[float | None, float | None] | None:
    """95 % interval of that median, from two of the runs' own times; None for never, and where they are too few.

    Source: Conover, Practical Nonparametric Statistics, 3.2: half of all runs are sooner than the median, whatever
    times are distributed like.
    """
    times = sorted(inf if (time := run.time_s(goal)) is None else time for run in runs)
    outside = [place for place in range(len(times) // 2) if 2 * bdtr(place, len(times), 0.5) <= ALPHA]
    if not outside:
        return None
    low, high = times[outside[-1]], times[-1 - outside[-1]]
    return (low if isfinite(low) else None), (high if isfinite(high) else None)


def expected_s(runs: Sequence[FinalRun], goal: str) -> float | None:
    """Expected time to the goal when one starts again after a miss: all time spent over the number of successes.

    Source: COCO's expected running time (arXiv 1605.03560).
    """
    spent = sum(run.spent_s if (time := run.time_s(goal)) is None else time for run in runs)
    return spent / reached(runs, goal) if reached(runs, goal) else None


def log_ratios(
    reference: Sequence[FinalRun], candidate: Sequence[FinalRun], goal: str
) -> tuple[list[float], list[float]]:
    """ln of reference over candidate for each pair: of the steps to the goal, and of the time of a step.

    A run of the reference that missed counts with the steps that it took, so that the ratio is no smaller than said.
    One of the candidate that missed is started again in thought: its own steps, and those that it is expected to need
    after them. Two misses say nothing of which would have come first, however long their steps took.
    """
    again = _expected_steps(candidate, goal)
    steps: list[float] = []
    times: list[float] = []
    for first, second in zip(reference, candidate, strict=True):
        came = first.crossings[goal], second.crossings[goal]
        taken = came[0] or first.steps, came[1] or second.steps + again
        steps.append(0.0 if came == (None, None) else log(taken[0] / taken[1]))
        times.append(0.0 if came == (None, None) else log(first.step_s / second.step_s))
    return steps, times


def _expected_steps(runs: Sequence[FinalRun], goal: str) -> float:
    """Steps to the goal with new starts after misses; without any success those of all runs together."""
    return sum(run.crossings[goal] or run.steps for run in runs) / max(1, reached(runs, goal))


def paired(reference: Sequence[FinalRun], candidate: Sequence[FinalRun]) -> tuple[list[FinalRun], list[FinalRun]]:
    """The runs of the seeds that both have, in one order."""
    known = {run.seed: run for run in reference}
    both = [(known[run.seed], run) for run in candidate if run.seed in known]
    return [r for r, _ in both], [c for _, c in both]


def interval(steps: Sequence[float], times: Sequence[float], level: float = ALPHA) -> tuple[float, float, float]:
    """Mean of the sum of two log ratios with its interval, by Student's t after Welch and Satterthwaite.

    Steps to the goal vary with the seed and the time of a step with the machine, so each has a variance of its own.
    """
    centre = fmean(steps) + fmean(times)
    parts = [(stdev(x) ** 2 / len(x), len(x) - 1) if len(x) > 1 else (0.0, 1) for x in (steps, times)]
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return centre, centre, centre
    df = variance**2 / sum(part**2 / free for part, free in parts)
    half = float(stdtrit(df, 1 - level / 2)) * sqrt(variance)
    return centre, centre - half, centre + half


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of the mean of paired differences, over every flip of their signs."""
    if len(differences) < 2 or not any(differences):
        return 1.0
    sums = np.abs(np.array(list(product((1.0, -1.0), repeat=len(differences)))) @ np.asarray(differences))
    return float(np.mean(sums >= sums[0] - _ROUNDING))


def holm(p: Mapping[K, float], alpha: float = ALPHA) -> set[K]:
    """Which of several hypotheses are rejected, by Holm's step-down."""
    rejected: set[K] = set()
    for place, key in enumerate(sorted(p, key=lambda key: p[key])):
        if p[key] > alpha / (len(p) - place):
            break
        rejected.add(key)
    return rejected


def p_value(reference: Sequence[FinalRun], candidate: Sequence[FinalRun], goal: str) -> float:
    """Two-sided p of a difference in time to the goal."""
    pairs = paired(reference, candidate)
    steps, times = log_ratios(*pairs, goal)
    return sign_flip([step + time for step, time in zip(steps, times)])


def compare(
    reference: Sequence[FinalRun],
    candidate: Sequence[FinalRun],
    goal: str,
    *,
    rejected: bool,
    tie: float = TIE,
    bar: float = 0.0,
) -> Comparison | None:
    """The speed-up of a candidate over a reference at a goal; None without a common seed.

    Args:
        reference: Its runs.
        candidate: Its runs; only seeds that both have are compared.
        goal: Its name.
        rejected: Whether `holm` rejected that they are equal.
        tie: Relative width of what is no difference: `TIE`, or one interval of the grid where that is more.
        bar: What the lower end of a claim must exceed, as a fraction: how finely the reference was tuned.
    """
    first, second = paired(reference, candidate)
    if not first:
        return None
    steps, times = log_ratios(first, second, goal)
    ratios = tuple(exp(s + t) for s, t in zip(steps, times))
    disturbed = bad_blocks([run.step_s for run in first])
    quiet = [time for place, time in enumerate(times) if place not in disturbed] or times
    centre, low, high = interval(steps, quiet)
    if len(ratios) < FEW:
        low, high = min(log(min(ratios)), centre), max(log(max(ratios)), centre)
    found = Estimate(exp(centre), exp(low), exp(high), unit="x", n=len(ratios))
    bound = _bound(reached(first, goal) < len(first), reached(second, goal) < len(second))
    reason = _reason(found, first, second, goal, tie)
    if not reason and found.low <= 1 + bar:
        reason = f"sooner by less than the {bar:.0%} to which the horizons were searched"
    if not reason and not rejected:
        reason = "not proven among so many comparisons"
    return Comparison(found, bound, ratios, p_value(first, second, goal), not reason, reason or "proven")


def _bound(reference_missed: bool, candidate_missed: bool) -> str:
    return "about" if candidate_missed else "at least" if reference_missed else ""


def _reason(
    found: Estimate, reference: Sequence[FinalRun], candidate: Sequence[FinalRun], goal: str, tie: float
) -> str:
    """Why the numbers alone do not show a candidate to be sooner; "" when they do."""
    if found.n < FEW:
        return f"{found.n} seed{'' if found.n == 1 else 's'} can prove nothing"
    if found.low <= 1.0 <= found.high or (found.low > 1 / (1 + tie) and found.high < 1 + tie):
        return "no measurable difference"
    if found.value < 1:
        return "slower"
    if reached(candidate, goal) < min(reached(reference, goal) or len(reference), _OFTEN * len(candidate)):
        return f"it came to the goal in {reached(candidate, goal)} of {len(candidate)} runs only"
    return ""


def non_inferior(
    reference: Sequence[FinalRun], candidate: Sequence[FinalRun], improvement: float, sigma: float
) -> bool | None:
    """Whether a candidate ends as well as the reference: None when that cannot be told.

    One-sided at 5 %: the candidate's end is worse by less than 2 % of the improvement, or than one sigma of the seeds.
    """
    first, second = paired(reference, candidate)
    if any(run.final is None for run in second):
        return False
    gaps = [c.final - r.final for r, c in zip(first, second) if c.final is not None and r.final is not None]
    if len(gaps) < 2:
        return None
    margin = max(_MARGIN * improvement, sigma)
    upper = fmean(gaps) + float(stdtrit(len(gaps) - 1, 1 - ALPHA)) * stdev(gaps) / sqrt(len(gaps))
    return upper < margin


def hopeless(best: Sequence[FinalRun], other: Sequence[FinalRun], goal: str) -> bool:
    """Whether an arm is so far behind after a few seeds that more of them are wasted: three sigma of the mean."""
    first, second = paired(best, other)
    if len(first) < 3:
        return False
    steps, times = log_ratios(first, second, goal)
    gaps = [-(step + time) for step, time in zip(steps, times)]
    return fmean(gaps) > 3 * stdev(gaps) / sqrt(len(gaps)) and fmean(gaps) > 0
