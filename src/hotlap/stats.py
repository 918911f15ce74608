"""Every claim of speed or of equal learning is decided here, by pure functions of the numbers given.

One trial is one observation and trials are compared in the back-to-back pairs they ran in (blocks). The working
quantity is the log ratio of a pair, reference over candidate: above 0 the candidate is faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from math import exp, expm1, fsum, isfinite, log, log1p, sqrt
from statistics import fmean, median, stdev
from typing import NamedTuple

from scipy.special import stdtrit

from hotlap.records import Estimate

PLANNED = {4: 0.005, 6: 0.010, 9: 0.015, 13: 0.020}
"""Pairs after which a confirmation is looked at, and the one-sided error of each look.

Looking in between would spend error that nobody counted. Large gains pass the first look all the same, and small ones
need what the last has.
"""
LOOKS = tuple(PLANNED)
ALPHA = fsum(PLANNED.values())  # one-sided, over all looks together
LEAST = 3
"""Pairs that a look takes: two lie near each other by chance too often."""
DELTA = 0.01  # a gain must be proven to exceed this; less is not worth a setting
PRIOR_NOISE = 0.04  # standard deviation of a log ratio: 3 to 5 % measured between adjacent fresh processes
PRIOR_DF = 4.0
POWER_80 = 0.84  # normal quantile of 80 %

_LARGEST = 709.0  # exp() of more overflows a float


class Look(Enum):
    """What a look at a confirmation decides."""

    ACCEPT = "accept"
    DROP = "drop"
    CONTINUE = "continue"
    NOT_PROVEN = "not proven"


class Sameness(Enum):
    """Whether two arms learn the same, within a margin."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    UNDECIDED = "undecided"


class Equivalence(NamedTuple):
    """Answer of two one-sided tests."""

    decision: Sameness
    difference: Estimate | None
    """Mean difference with its 95 % interval; None when there is none to give."""
    band: tuple[float, float] | None
    """The 90 % interval that decided."""


def _t(tail: float, n: int) -> float:
    return float(stdtrit(n - 1, 1.0 - tail))


def _half_width(values: Sequence[float], tail: float) -> float:
    """Distance from the mean to a bound that the true mean passes with probability `tail`, by Student's t."""
    return _t(tail, len(values)) * stdev(values) / sqrt(len(values))


def _ratio(log_ratios: Sequence[float], lower_tail: float, upper_tail: float) -> Estimate:
    if len(log_ratios) < 2:
        raise ValueError(f"an interval takes at least two pairs, not {len(log_ratios)}")
    centre = fmean(log_ratios)
    low, high = centre - _half_width(log_ratios, lower_tail), centre + _half_width(log_ratios, upper_tail)
    value, low, high = (exp(min(x, _LARGEST)) for x in (centre, low, high))
    return Estimate(value, low, high, unit="x", n=len(log_ratios))


def log_ratios(reference_s: Sequence[Sequence[float]], candidate_s: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """ln(reference / candidate) of the mean step times of each pair, shape (pairs,); arguments as for `speedup`.

    Means and not medians: the user pays for the mean.

    Raises:
        ValueError: A trial without its partner or without steps, or a mean step time that is not above zero.
    """
    return tuple(log(fmean(r) / fmean(c)) for r, c in zip(reference_s, candidate_s, strict=True))


def speedup(reference_s: Sequence[Sequence[float]], candidate_s: Sequence[Sequence[float]]) -> Estimate:
    """How many times faster the candidate trains, with a 95 % interval.

    Trials are compared in the back-to-back pairs they ran in, so slow drift cancels. A trial is one
    observation however many steps it has: the steps of a process share its luck. A setting's own share is this
    too: the plan without the setting as the reference, the whole plan as the candidate.

    Args:
        reference_s: Step times of the untouched script [s], shape (pairs, steps), warm-up removed.
        candidate_s: The same under the setup on trial; its number of steps may differ.

    Returns:
        Geometric mean of the pair ratios, unit "x"; 1.0 is no change, above 1 is faster.

    Raises:
        ValueError: Fewer than two pairs, or a trial without its partner.

    >>> round(speedup([[0.2] * 30, [0.4] * 30], [[0.1] * 30, [0.2] * 30]).value, 3)
    2.0
    """
    return _ratio(log_ratios(reference_s, candidate_s), 0.025, 0.025)


def looks(closings: Iterable[int] = (), share: float = 1.0) -> dict[int, float]:
    """Pairs after which a confirmation is looked at, and the one-sided error that each look may spend.

    A budget may end before the next look. That moment does not depend on which of the two arms was the faster, so a
    look then is honest as long as its error is counted: it takes half of what the looks to come have, beside its own
    where one was planned there, and leaves them the other half. So however often a confirmation is closed and gone on
    with, its looks together spend `ALPHA`.

    Args:
        closings: Numbers of pairs after which a budget had ended, in that order.
        share: Of the error, where several setups are confirmed until one is accepted.
    """
    held = {pairs: share * error for pairs, error in PLANNED.items()}
    for pairs in (closing for closing in dict.fromkeys(closings) if LEAST <= closing < LOOKS[-1]):
        later = {at: error / 2 for at, error in held.items() if at > pairs}
        held |= {**later, pairs: held.get(pairs, 0.0) + fsum(later.values())}
    return dict(sorted(held.items()))


def look(log_ratios: Sequence[float], delta: float = DELTA, closings: Iterable[int] = (), share: float = 1.0) -> Look:
    """Decide a confirmation from the fresh pairs it has so far.

    The error of 5 % is split over the looks, so looking early does not raise the false claims.

    Args:
        log_ratios: ln(baseline / candidate) of the pairs of this confirmation only, shape (pairs,): what ranked
            the candidates in the search must not prove them.
        delta: The gain that must be exceeded, as a fraction.
        closings: See `looks`.
        share: Likewise.

    Returns:
        CONTINUE where there is no look; NOT_PROVEN at the last look without a decision: keep the baseline.

    Raises:
        ValueError: More pairs than the last look has.

    Source: Bonferroni over looks; simulated by bench/simulate_confirmation.py.
    """
    n, bar = len(log_ratios), log1p(delta)
    if n > LOOKS[-1]:
        raise ValueError(f"a confirmation ends after {LOOKS[-1]} pairs; {n} were given")
    if (tail := looks(closings, share).get(n)) is None:
        return Look.CONTINUE
    centre, half = fmean(log_ratios), _half_width(log_ratios, tail)
    if centre - half > bar:
        return Look.ACCEPT
    if centre + half < bar:
        return Look.DROP
    return Look.NOT_PROVEN if n == LOOKS[-1] else Look.CONTINUE


def confirmed_speedup(log_ratios: Sequence[float], closings: Iterable[int] = ()) -> Estimate:
    """The speed-up to report after a sequential confirmation, with an interval that allows for the stopping.

    A confirmation stops when its data look good, so the plain 95 % interval covers too rarely: 91 % over all runs
    at a true gain of 0 or 1 %, 87 % among the accepted at a true 3 % (4 % noise). Hence a repeated confidence
    interval (Jennison and Turnbull 1989): the lower end is the very bound that `look` compares with its bar, so no
    accepted setup is reported with a lower end under the bar; the upper end spends 2.5 %, evenly over all looks.
    Simulated at 2 to 5 % noise it covers in 94 to 99 % of all runs, and in 92 to 99 % of the accepted at a true gain
    of 3 % or more. Closer to the bar few are accepted, and those are overstated: no interval
    that must exclude the bar can cover them.

    Args:
        log_ratios: ln(baseline / candidate) of the pairs of the confirmation, shape (pairs,); between two looks, the
            lower end has what the one before may spend.
        closings: As given to the `look` that decided.

    Raises:
        ValueError: Fewer than two pairs.
    """
    held = looks(closings)
    return _ratio(log_ratios, _tail(held, len(log_ratios)), ALPHA / 2 / len(held))


def _tail(held: dict[int, float], pairs: int) -> float:
    """Of the last look up to so many pairs, or of the first."""
    return [error for at, error in held.items() if at <= max(pairs, min(held))][-1]


def pooled_noise(
    log_ratios_by_group: Iterable[Sequence[float]],
    prior: float = PRIOR_NOISE,
    prior_df: float = PRIOR_DF,
    same: Sequence[float] = (),
) -> float:
    """Standard deviation of one pair's log ratio, pooled over all blocks so far and held by a prior.

    Three pairs have 2 degrees of freedom, which leaves the noise uncertain by a factor of 0.5 to 6. The prior of
    4 % weighs as much as 4 degrees of freedom: alone it says 2.4 to 11.5 % (95 % of a scaled inverse chi-square),
    which holds the measured 3 to 5 % and a busier machine; five groups of three pairs outweigh it by 10 to 4.

    Args:
        log_ratios_by_group: One sequence for each arm; each group's own mean is removed, and a group of one pair
            says nothing about noise. Arms that share a baseline are not quite independent.
        prior: Noise expected before any measurement.
        prior_df: Degrees of freedom that the prior counts for; 0 takes the data alone.
        same: A/A pairs: one thing measured twice has ratio 1, so even a single such pair is evidence.

    Raises:
        ValueError: No degree of freedom at all.
    """
    groups = [group for group in log_ratios_by_group if len(group) > 1]
    df = prior_df + sum(len(group) - 1 for group in groups) + len(same)
    if df <= 0:
        raise ValueError("neither a pair of pairs nor a prior to tell the noise from")
    squares = fsum(stdev(group) ** 2 * (len(group) - 1) for group in groups) + fsum(ratio**2 for ratio in same)
    return sqrt((prior_df * prior**2 + squares) / df)


def smallest_provable_gain(noise: float, pairs: int = LOOKS[-1], delta: float = DELTA) -> float:
    """The true gain that a confirmation of so many pairs proves four times in five, as a fraction.

    MDE(n) = (t + 0.84) s / sqrt(n), on top of the bar. Noise from fewer than 8 pairs is no reason to skip a knob.

    Raises:
        ValueError: Fewer than two pairs.
    """
    if pairs < 2:
        raise ValueError(f"nothing can be proven from {pairs} pairs")
    return expm1(log1p(delta) + (_t(_tail(PLANNED, pairs), pairs) + POWER_80) * noise / sqrt(pairs))


def mean(values: Sequence[float], unit: str) -> Estimate:
    """Mean of independent observations with its 95 % interval, by Student's t.

    Raises:
        ValueError: Fewer than two.
    """
    if len(values) < 2:
        raise ValueError(f"an interval takes at least two observations, not {len(values)}")
    centre, half = fmean(values), _half_width(values, 0.025)
    return Estimate(centre, centre - half, centre + half, unit=unit, n=len(values))


def equivalence(differences: Sequence[float], margin: float, unit: str = "", level: float = 0.05) -> Equivalence:
    """Whether paired differences in loss stay within a margin: two one-sided tests, on both sides on purpose.

    Args:
        differences: Candidate less reference at equal seeds, shape (seeds,).
        margin: The largest difference that does not matter, in the unit of the differences.
        unit: Of the estimate.
        level: Of each test.

    Returns:
        EQUIVALENT when the interval (at 5 % the one of 90 %) lies inside the margins, DIFFERENT when wholly outside,
        else UNDECIDED: so too for fewer than two seeds or a value that is not finite, for what could not be checked
        has not passed.

    Raises:
        ValueError: The margin is not above zero.
    """
    if not margin > 0:
        raise ValueError(f"the margin must be above zero, not {margin}")
    if len(differences) < 2 or not all(isfinite(d) for d in differences):
        return Equivalence(Sameness.UNDECIDED, None, None)
    centre, half = fmean(differences), _half_width(differences, level)
    if abs(centre) + half < margin:
        decision = Sameness.EQUIVALENT
    else:
        decision = Sameness.DIFFERENT if abs(centre) - half > margin else Sameness.UNDECIDED
    return Equivalence(decision, mean(differences, unit), (centre - half, centre + half))


def bad_blocks(baseline_means_s: Sequence[float]) -> tuple[int, ...]:
    """Positions of the blocks in which the machine was disturbed, to be dropped whole and run again.

    Judged from the baselines alone: dropping a block for its candidate's value would choose the result.

    Args:
        baseline_means_s: Mean step time of each block's baseline [s].

    Raises:
        ValueError: A time that is not above zero.
    """
    if not baseline_means_s:
        return ()
    logs = [log(mean) for mean in baseline_means_s]
    middle = median(logs)
    spread = 1.4826 * median(abs(y - middle) for y in logs)  # the factor makes it the normal's deviation
    limit = max(5.0 * spread, log(1.10))
    return tuple(block for block, y in enumerate(logs) if abs(y - middle) > limit)
