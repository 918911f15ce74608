"""What the sequential confirmation can promise: simulated acceptance, effort and coverage of the reported interval.

Run: python bench/simulate_confirmation.py [--runs 4000] [--seed 0]
Each run is one candidate with a planted gain, confirmed by the looks of hotlap.stats under normal noise. The second
table is of budgets that end between two looks, which brings one forward; its last row is of confirmations that were
closed so and gone on with, again and again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from hotlap.stats import ALPHA, DELTA, LOOKS, Look, confirmed_speedup, look, looks

NOISES = (0.02, 0.03, 0.04, 0.05)
GAINS = (0.0, 0.01, 0.03, 0.05, 0.10)
CLOSED = (((3,), 3), ((4,), 4), ((5,), 5), ((7,), 7), ((8,), 8), ((10,), 10), ((12,), 12), ((3, 5, 8, 12), 13))
"""Pairs after which a budget ended, and pairs in all."""
CLOSED_NOISE = 0.04
CLOSED_GAINS = (0.0, 0.01, 0.05, 0.10, 0.20)
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """One noise and one true gain."""

    noise: float
    gain: float
    accepted: float
    pairs: float
    plain: float
    """Share of all runs whose plain 95 % interval holds the true gain."""
    reported: float
    """The same for the interval of confirmed_speedup."""
    plain_accepted: float
    reported_accepted: float
    gain_accepted: float
    """Mean gain reported by the accepted runs."""


def bounds(ratios: Floats, lower_tail: float, upper_tail: float) -> tuple[Floats, Floats]:
    """Lower and upper bound of the mean of each row; shape (runs, pairs) to (runs,)."""
    n = ratios.shape[1]
    centre, error = ratios.mean(axis=1), ratios.std(axis=1, ddof=1) / np.sqrt(n)
    return centre - stdtrit(n - 1, 1 - lower_tail) * error, centre + stdtrit(n - 1, 1 - upper_tail) * error


def confirm(ratios: Floats, closings: Sequence[int] = ()) -> tuple[Booleans, NDArray[np.int64]]:
    """Which runs are accepted, and after how many pairs each one stopped."""
    bar, pairs = np.log1p(DELTA), ratios.shape[1]
    live = np.ones(len(ratios), dtype=bool)
    accepted = np.zeros(len(ratios), dtype=bool)
    stopped = np.full(len(ratios), pairs)
    for n, tail in looks(closings).items():
        if n > pairs:
            break
        low, high = bounds(ratios[:, :n], tail, tail)
        accepted |= live & (low > bar)
        ends = live & ((low > bar) | (high < bar))
        stopped[ends] = n
        live &= ~ends
    return accepted, stopped


def plain_tails(pairs: int) -> tuple[float, float]:
    """Of the plain 95 % interval."""
    return 0.025, 0.025


def reported_tails(pairs: int, closings: Sequence[int] = ()) -> tuple[float, float]:
    """Of the interval that is reported."""
    return looks(closings)[pairs], ALPHA / 2 / len(looks(closings))


def covered(
    ratios: Floats, stopped: NDArray[np.int64], truth: float, tails: Callable[[int], tuple[float, float]]
) -> Booleans:
    """Whether the interval taken when each run stopped holds the truth."""
    held = np.zeros(len(ratios), dtype=bool)
    for n in sorted(set(stopped.tolist())):
        rows = stopped == n
        low, high = bounds(ratios[rows, :n], *tails(n))
        held[rows] = (low <= truth) & (truth <= high)
    return held


def simulate(
    noise: float,
    gain: float,
    runs: int,
    rng: np.random.Generator,
    pairs: int = LOOKS[-1],
    closings: Sequence[int] = (),
) -> Cell:
    """Confirm one candidate `runs` times."""
    truth = float(np.log1p(gain))
    ratios = rng.normal(truth, noise, (runs, pairs))
    accepted, stopped = confirm(ratios, closings)
    plain = covered(ratios, stopped, truth, plain_tails)
    reported = covered(ratios, stopped, truth, lambda n: reported_tails(n, closings))
    means = np.array([row[:n].mean() for row, n in zip(ratios, stopped, strict=True)])

    def among_accepted(values: Floats | Booleans) -> float:
        return float(values[accepted].mean()) if accepted.any() else float("nan")

    return Cell(
        noise=noise,
        gain=gain,
        accepted=float(accepted.mean()),
        pairs=float(stopped.mean()),
        plain=float(plain.mean()),
        reported=float(reported.mean()),
        plain_accepted=among_accepted(plain),
        reported_accepted=among_accepted(reported),
        gain_accepted=float(np.expm1(among_accepted(means))),
    )


def agrees(ratios: Floats, closings: Sequence[int] = ()) -> bool:
    """Whether the vectorised rules above are those of hotlap.stats, row by row."""
    accepted, stopped = confirm(ratios, closings)
    for row, accept, n in zip(ratios, accepted, stopped, strict=True):
        words = {k: look(row[:k].tolist(), closings=closings) for k in range(2, n + 1)}
        early = all(word is Look.CONTINUE for k, word in words.items() if k < n)
        low, high = bounds(row[None, :n], *reported_tails(int(n), closings))
        estimate = confirmed_speedup(row[:n].tolist(), closings=closings)
        same = np.allclose([estimate.low, estimate.high], [np.exp(low[0]), np.exp(high[0])])
        if not early or (words[int(n)] is Look.ACCEPT) != accept or not same:
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, some = (np.random.default_rng(arguments.seed + n) for n in range(2))
    for closings, pairs in ((), LOOKS[-1]), *CLOSED:
        if not agrees(some.normal(0.03, 0.04, (200, pairs)), closings):
            raise SystemExit("the simulation and hotlap.stats decide differently")
    print(f"{arguments.runs} runs a cell; coverage of the plain 95 % interval -> of the reported one")
    print("noise  gain  accepted  pairs   all runs         accepted only    mean gain of the accepted")
    for noise in NOISES:
        for gain in GAINS:
            cell = simulate(noise, gain, arguments.runs, rng)
            every = f"{cell.plain:.3f} -> {cell.reported:.3f}"
            kept = f"{cell.plain_accepted:.3f} -> {cell.reported_accepted:.3f}"
            effort = f"{cell.accepted:9.3f} {cell.pairs:6.1f}"
            print(f"{noise:5.0%} {gain:5.0%} {effort}   {every}   {kept}   {cell.gain_accepted:6.1%}")
    print(
        f"\nthe budget ends after so many pairs; {CLOSED_NOISE:.0%} noise; accepted, and coverage of what is reported"
    )
    print("pairs  closed after", *(f"{gain:13.0%}" for gain in CLOSED_GAINS))
    for closings, pairs in CLOSED:
        cells = [simulate(CLOSED_NOISE, gain, arguments.runs, rng, pairs, closings) for gain in CLOSED_GAINS]
        shown = (f"{cell.accepted:.3f} ({cell.reported:.3f})" for cell in cells)
        print(f"{pairs:5}  {', '.join(map(str, closings)):12}", *shown)


if __name__ == "__main__":
    main()
