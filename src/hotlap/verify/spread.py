"""The stochastic gate: does the randomness inside the model do as much as it did?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import fmean, variance
from typing import Any

from scipy import stats

from hotlap.records import Gate, Word

ANSWER = "answer"
_NOTHING = 1e-3  # of the whole gradient
_ERROR = 1e-3  # of a false alarm, shared by all that is compared


def spread_gate(reference: Mapping[str, Sequence[float]], candidate: Mapping[str, Sequence[float]]) -> Gate:
    """The model's answer and the norm of each gradient under several seeds: equal mean and equal spread.

    The seeds are the same in both arms, and draw other masks where the kernel is another, so it is means and variances
    that are compared (Welch's t and F), not values.

    Args:
        reference: Name to values by seed, of the untouched script.
        candidate: The same of the setup on trial.
    """
    if not reference or not candidate:
        return Gate("randomness", Word.UNDECIDED, "the randomness inside the model could not be measured")
    if all(candidate.get(name) == values for name, values in reference.items()):
        seeds = max(map(len, reference.values()))
        return Gate("randomness", Word.IDENTICAL, f"answers and gradients under {seeds} seeds are equal to the bit")
    level = _ERROR / (2 * len(reference))
    size = sum(fmean(values) ** 2 for name, values in reference.items() if name != ANSWER) ** 0.5
    for name, theirs in reference.items():
        ours = candidate.get(name, ())
        if len(ours) != len(theirs):
            return Gate("randomness", Word.CHANGED, f"{name}: it is missing in one arm", parameter=name)
        if not all(map(isfinite, (*ours, *theirs))):
            return Gate("randomness", Word.UNDECIDED, f"{name} is not finite under every seed", parameter=name)
        if name != ANSWER and fmean(theirs) < _NOTHING * size and fmean(ours) < 10 * _NOTHING * size:
            continue  # a bias before BatchNorm: mathematically zero, so what is there is rounding
        wrong = _difference(theirs, ours, level)
        if wrong:
            return Gate("randomness", Word.CHANGED, f"{name}: {wrong}", parameter=name)
    seeds = len(next(iter(reference.values())))
    return Gate("randomness", Word.EQUIVALENT, f"mean and spread under {seeds} seeds are alike")


def _difference(theirs: Sequence[float], ours: Sequence[float], level: float) -> str:
    """What differs beyond chance; "" when nothing does."""
    n, spreads = len(theirs), (variance(theirs), variance(ours))
    if not spreads[0] and not spreads[1]:
        return ""  # no randomness here: the exact gates have compared it
    if not spreads[0] or not spreads[1]:
        least = _noise_floor(theirs, ours)
        if max(spreads) <= least:
            return ""
        return "no randomness is left in it" if spreads[0] else "there is randomness in it where there was none"
    ratio = spreads[1] / spreads[0]
    if 2 * min(stats.f.cdf(ratio, n - 1, n - 1), stats.f.sf(ratio, n - 1, n - 1)) < level:
        if max(spreads) <= _noise_floor(theirs, ours):
            return ""
        return f"its spread is {ratio**0.5:.2g} times what it was"
    chance: Any = stats.ttest_ind(theirs, ours, equal_var=False)
    if chance.pvalue < level:
        return (
            f"its mean is {fmean(ours) / fmean(theirs):.3g} times what it was" if fmean(theirs) else "its mean differs"
        )
    return ""


def _noise_floor(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """A variance that rounding alone could make, in the lowest precision there is."""
    return (2.0**-9 * max(map(abs, (*theirs, *ours)))) ** 2
