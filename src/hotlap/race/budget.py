"""What a race may cost, and what of the protocol that pays for: decided from the first run of the script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from hotlap.errors import HotlapError

RUNGS = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the training over which the whole schedule is run in turn."""
PROVABLE = 7
"""Seeds from which two-sided sign flips can prove three comparisons at once: 3 / 2^6 < 0.05."""
FIRST_SEEDS = 3
"""Of the finals, after which an arm that is far behind is left."""
_TIMED_S = 5.0  # that an arm trains in the admission test, warm-up included
_SLACK = 1.25  # of the forecast, for a noisy machine


@dataclass(frozen=True)
class Costs:
    """What a run of the script takes."""

    steps: int
    """Of the whole training."""
    start_s: float
    """To the first step."""
    step_s: float
    evaluation_s: float = 0.0
    """Spread over the steps."""
    every: int = 1
    """Steps between two values of the metric, up to one of which every run goes."""

    def run_s(self, share: float = 1.0, dear: float = 1.0) -> float:
        """Time of a run over a share of the training, its steps so many times as dear; start and evaluation are not."""
        steps = min(self.steps, ceil(share * self.steps / self.every) * self.every)
        return self.start_s + steps * (dear * self.step_s + self.evaluation_s)


@dataclass(frozen=True)
class Shape:
    """How much of each part of the protocol is run."""

    name: str
    baselines: int
    """Seeds of the untouched script, from which the goals come."""
    points: int
    """Settings of each rule at the first rung."""
    extensions: int
    """Further points where the best lies at the edge of those tried."""
    variations: int
    """Changes of each finalist's schedule, momentum and clipping that are tried over half of the training."""
    notches: int
    """Runs that look for each finalist's horizon."""
    checks: int
    """Further seeds on which each finalist must come to the goal; its horizon is lengthened for each that does not."""
    finalists: int
    """Rules in the finals besides the script's own, tuned and as written."""
    seeds: int
    """Of the finals."""
    rules: tuple[str, ...] = ()
    whole: bool = False
    """Arms are variants of the command line, or batch sizes, with no schedule to shorten: each is run whole, once."""
    dear: float = 1.0
    """Times the script's that all steps of such an arm take."""
    tuned: bool = True
    """Beside such arms the script's own rule is tuned too: what its settings alone would bring."""

    @property
    def proves(self) -> bool:
        """Enough seeds for a claim; with fewer the answer is indicative."""
        return self.seeds >= PROVABLE

    def rung_sizes(self) -> tuple[int, ...]:
        """Settings of a rule at each rung: a half goes on, and one to the last."""
        return (self.points, max(1, self.points // 2), 1)

    def forecast_s(self, costs: Costs, at_once: int = 1) -> float:
        """What everything will take, kills not counted.

        Args:
            costs: Of a run.
            at_once: Runs that can be under way at the same time.
        """
        baselines = 1 + ceil((self.baselines - 1) / at_once)
        seeds = seeds_in_turn(self.seeds, at_once)
        if self.whole:
            finalists = min(self.finalists, len(self.rules))
            rounds = ceil(len(self.rules) / at_once) + seeds * finalists
            own_s = self.tuned * (self._tuning_s(costs, at_once, 1, 0) + seeds * costs.run_s())
            return (baselines + seeds) * costs.run_s() + rounds * costs.run_s(dear=self.dear) + own_s
        tuning_s = self._tuning_s(costs, at_once, 1 + len(self.rules), self.finalists)
        return baselines * costs.run_s() + tuning_s + seeds * (2 + self.finalists) * costs.run_s()

    def _tuning_s(self, costs: Costs, at_once: int, abreast: int, finalists: int) -> float:
        """From the admission of so many rules to the horizons of the finalists and of the script's own."""
        rungs = [
            ceil(abreast * count / at_once) / abreast * costs.run_s(share)
            for share, count, after in zip(RUNGS, self.rung_sizes(), (*self.rung_sizes()[1:], 0))
            if count > after  # where nothing is dropped nothing is run
        ]
        return (
            abreast * (costs.start_s + _TIMED_S)
            + abreast * sum(rungs)
            + ceil((1 + finalists) * self.variations / at_once) * costs.run_s(RUNGS[-1])
            + ceil((1 + finalists) / at_once) * (self.notches + self.checks) * costs.run_s(0.75)
        )


SHAPES = {
    "thorough": Shape(
        "thorough", baselines=5, points=12, extensions=2, variations=6, notches=3, checks=3, finalists=3, seeds=10
    ),
    "standard": Shape(
        "standard", baselines=5, points=4, extensions=2, variations=4, notches=2, checks=2, finalists=2, seeds=8
    ),
    "quick": Shape(
        "quick", baselines=3, points=3, extensions=1, variations=2, notches=1, checks=1, finalists=1, seeds=3
    ),
}
"""From the richest to the poorest."""
_FIRST = ("adamw", "nesterov", "muon", "adam", "sgd", "momentum")
"""Where not all can be screened."""


def seeds_in_turn(seeds: int, at_once: int) -> int:
    """Seeds of the finals that have to wait for each other.

    >>> seeds_in_turn(8, 1), seeds_in_turn(8, 4)
    (8, 3)
    """
    first = min(seeds, FIRST_SEEDS)
    return ceil(first / at_once) + ceil((seeds - first) / at_once)


def afford(
    costs: Costs,
    rules: Sequence[str],
    budget_s: float | None,
    word: str = "",
    *,
    whole: bool = False,
    dear: float = 1.0,
    at_once: int = 1,
) -> tuple[Shape, float]:
    """The shape of the race, and its hard limit on the wall clock [s].

    Args:
        costs: Of a run.
        rules: That would be screened, besides the script's own.
        budget_s: The user's time for everything; None where a shape was named.
        word: The shape named.
        whole: The rules are variants of the command line, or batch sizes.
        dear: See `Shape`.
        at_once: Runs that can be under way at the same time.

    Raises:
        HotlapError: Not even the smallest race fits into the time.
    """
    if budget_s is None:
        named = replace(SHAPES[word], rules=tuple(rules), whole=whole, dear=dear)
        if word == "quick" and not whole:
            named = replace(named, rules=tuple(sorted(rules, key=_rank)[:3]))
        return named, _SLACK * named.forecast_s(costs, at_once)
    full = (replace(shape, rules=tuple(rules), whole=whole, dear=dear) for shape in SHAPES.values())
    ordered = sorted(rules, key=_rank)
    fewer = (replace(SHAPES["quick"], rules=tuple(ordered[:count])) for count in range(len(rules) - 1, 0, -1))
    bare = replace(
        SHAPES["quick"],
        baselines=2,
        points=2,
        extensions=0,
        variations=0,
        notches=0,
        checks=0,
        seeds=2,
        rules=tuple(ordered[:1]),
    )
    if whole:
        alone = (replace(shape, rules=tuple(rules), whole=whole, dear=dear, tuned=False) for shape in SHAPES.values())
        fewer, bare = alone, replace(bare, rules=tuple(rules), whole=True, dear=dear, tuned=False)
    for shape in (*full, *fewer, bare):
        if shape.forecast_s(costs, at_once) <= budget_s:
            return shape, budget_s
    least = bare.forecast_s(costs, at_once)
    quick = _SLACK * replace(SHAPES["quick"], rules=tuple(ordered[:3])).forecast_s(costs, at_once)
    raise HotlapError(
        "race-too-short",
        f"A whole run of the script takes {costs.run_s():.0f} s, and the smallest race about {least:.0f} s.",
        fix=f"give it --budget {quick / 60:.0f}m, or let the script train for fewer steps",
    )


def _rank(rule: str) -> int:
    return _FIRST.index(rule) if rule in _FIRST else len(_FIRST)
