"""What there is to reach: three values that the untouched script itself reaches, found from its own seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import fmean, stdev

from scipy.special import chdtri, stdtrit

from hotlap.errors import HotlapError
from hotlap.race.curves import LearningCurve

DEFAULT = "default"
"""The goal that decides."""
_OFTEN = 0.8  # of the seeds come to the default goal
_LOOSE = 0.95  # of the improvement
_UNSURE = 0.2  # that the seeds' true spread is larger than `Goals.spread`


@dataclass(frozen=True)
class Goals:
    """Values of the metric, lower is better."""

    default: float
    """That four seeds in five are predicted to reach: the baselines' mean and about one standard deviation."""
    strict: float
    """Their mean."""
    loose: float
    """95 % of the improvement from the first point to the mean, or the default where seeds differ by more than that."""
    sigma: float
    """Standard deviation of what a seed reaches."""

    improvement: float
    """From the first point of the baselines to the strict goal."""
    seeds: int = 3
    """From which it was told."""

    @property
    def spread(self) -> float:
        """A standard deviation that the true one exceeds in a fifth of the cases only: few seeds often look alike."""
        return self.sigma * sqrt((self.seeds - 1) / float(chdtri(self.seeds - 1, 1 - _UNSURE)))

    @property
    def named(self) -> dict[str, float]:
        """Every goal by its name, the one that decides first."""
        return {DEFAULT: self.default, "strict": self.strict, "loose": self.loose}


def goals(baselines: Sequence[LearningCurve], wanted: float | None = None) -> Goals:
    """The goals from 3 to 5 seeds of the untouched script.

    Args:
        baselines: Whole runs.
        wanted: The user's own goal, in the sense in which lower is better; it takes the place of default and strict.

    Raises:
        HotlapError: The baselines show no learning, or too little to tell it from their noise.
    """
    reached = [curve.best for curve in baselines]
    starts = [curve.points[0][1] for curve in baselines if curve.points]
    if len(reached) < 2 or not all(map(isfinite, reached)):
        raise HotlapError(
            "no-metric",
            f"Of {len(baselines)} runs of the script, {sum(map(isfinite, reached))} gave a number to race for.",
            fix="name one that the script prints with --metric REGEX and --mode min or max",
        )
    start, mean, sigma = fmean(starts), fmean(reached), stdev(reached)
    if start - mean <= 2 * sigma:
        raise HotlapError(
            "no-progress",
            f"The untouched script improves by {start - mean:.3g} in a run, and its seeds differ by {sigma:.3g}.",
            fix="train longer, or name another number with --metric",
        )
    if wanted is not None and wanted >= start:
        raise HotlapError(
            "bad-choice",
            f"The script is at its --target from the start: the mean of its first numbers is {abs(start):.3g}.",
            fix="name one that it has to train for",
        )
    if wanted is not None:
        return Goals(wanted, wanted, start - _LOOSE * (start - wanted), sigma, start - wanted, len(reached))
    # What a further seed reaches is less certain than the mean of those seen, by Student's t (a prediction interval);
    # no narrower than a thousandth of the improvement, for equal seeds would leave a goal on a knife's edge.
    count = len(reached)
    band = float(stdtrit(count - 1, _OFTEN)) * sigma * sqrt(1 + 1 / count)
    default = mean + max(band, 1e-3 * (start - mean))
    loose = max(default, start - _LOOSE * (start - mean))
    return Goals(default, mean, loose, sigma, start - mean, count)
