"""The two goals of a tune: what a pair is worth to each, what must be proven, and what is said of it.

Both value a pair by a log ratio of the untouched script over the setup, so that one search and one rule of looking
serve them: time per step for speed, the most memory that a step holds for memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import expm1, log1p
from statistics import fmean
from typing import ClassVar

from hotlap import stats
from hotlap.records import Goal, Pair, Setting, Setup
from hotlap.search.candidates import Request
from hotlap.search.greedy import KEEP
from hotlap.stats import Look
from hotlap.trials import blocks

SAVED = 0.02  # less memory than this is not worth a setting, nor well above what one process differs from the next
_TOO_SLOW = -1.0  # what such a setting is worth: not tried in company either


@dataclass(frozen=True)
class Faster:
    """Steps that take less time."""

    goal: ClassVar[Goal] = Goal.SPEED

    def worth(self, pair: Pair) -> float:
        """What the search ranks by."""
        return blocks.log_gain(pair)

    def look(self, pairs: Sequence[Pair], closings: Sequence[int] = ()) -> Look:
        """Decide a confirmation, see `stats.look`."""
        return stats.look([blocks.log_gain(pair) for pair in pairs], closings=closings)

    def told(self, pairs: Sequence[Pair]) -> str:
        """What a setup's pairs showed, for the user to follow."""
        return f"{expm1(blocks.typical(map(blocks.log_gain, pairs))):+.0%}"

    def left_out(self, pairs: Sequence[Pair], rivals: Sequence[str]) -> str:
        """Why a setting that was screened was not kept."""
        if blocks.typical(map(self.worth, pairs)) <= KEEP:
            return f"no gain seen in screening ({self.told(pairs)})"
        beside = f"{', '.join(rivals)} in its place is faster" if rivals else "no gain beside what is kept"
        return f"{beside} ({self.told(pairs)})"

    def missed(self, pairs: Sequence[Pair], closings: Sequence[int] = ()) -> str:
        """What a confirmation did not prove."""
        return "not proven faster"

    def lighter(
        self, setup: Setup, pinned: Setup, last: Sequence[Pair], pairs: Sequence[Pair], closings: Sequence[int] = ()
    ) -> Setup | None:
        """What to confirm in place of a setup that was not: nothing, for the search found no faster one."""
        return None

    def further(self) -> Faster:
        """The aim of the next setup that is confirmed; it has all of the error, for the last was accepted for speed.

        Tests in a fixed order that ends with the first that is not accepted need no correction (Maurer 1995).
        """
        return self


@dataclass(frozen=True)
class Smaller:
    """Steps that hold less memory, and are proven not to be much slower.

    Args:
        slowdown: How much slower a step may be, as a share.
        share: Of the error, that this setup's confirmation may spend; each further one has half of the last one's.
    """

    slowdown: float
    share: float = 0.5
    goal: ClassVar[Goal] = Goal.MEMORY

    def worth(self, pair: Pair) -> float:
        """The memory saved, unless one pair says that the setup is too slow by more than the noise of a pair."""
        slower = -blocks.log_gain(pair) - log1p(self.slowdown)
        return _TOO_SLOW if slower > stats.PRIOR_NOISE else blocks.log_saving(pair)

    def look(self, pairs: Sequence[Pair], closings: Sequence[int] = ()) -> Look:
        """Decide a confirmation: both must be proven, that memory is saved and that the step is not too slow.

        The setup is accepted only where each of two tests is, so neither error needs to be divided between them
        (Berger 1982, an intersection-union test): a setup that is truly too slow, or saves nothing, passes its own
        test as rarely as one that is not faster passes the goal of speed.
        """
        looks = self._saves(pairs, closings), self._bearable(pairs, closings)
        if Look.DROP in looks:
            return Look.DROP
        if looks == (Look.ACCEPT, Look.ACCEPT):
            return Look.ACCEPT
        return Look.NOT_PROVEN if Look.NOT_PROVEN in looks or len(pairs) >= stats.LOOKS[-1] else Look.CONTINUE

    def _saves(self, pairs: Sequence[Pair], closings: Sequence[int] = ()) -> Look:
        return stats.look([blocks.log_saving(pair) for pair in pairs], SAVED, closings, self.share)

    def _bearable(self, pairs: Sequence[Pair], closings: Sequence[int] = ()) -> Look:
        least = 1.0 / (1.0 + self.slowdown)  # of the untouched script's speed
        return stats.look([blocks.log_gain(pair) for pair in pairs], least - 1.0, closings, self.share)

    def told(self, pairs: Sequence[Pair]) -> str:
        """What a setup's pairs showed, for the user to follow."""
        saved, gain = (blocks.typical(map(of, pairs)) for of in (blocks.log_saving, blocks.log_gain))
        return f"{expm1(-saved):+.0%} memory at {expm1(-gain):+.0%} time"

    def left_out(self, pairs: Sequence[Pair], rivals: Sequence[str]) -> str:
        """Why a setting that was screened was not kept."""
        saved = blocks.typical(map(blocks.log_saving, pairs))
        if saved <= KEEP:
            why = "no saving seen in screening"
        elif blocks.typical(map(self.worth, pairs)) <= KEEP:
            why = f"more than {self.slowdown:.0%} slower"
        else:
            why = f"{', '.join(rivals)} in its place saves more" if rivals else "no saving beside what is kept"
        return f"{why} ({self.told(pairs)})"

    def missed(self, pairs: Sequence[Pair], closings: Sequence[int] = ()) -> str:
        """What a confirmation did not prove."""
        wanted = [] if self._saves(pairs, closings) is Look.ACCEPT else [f"save more than {SAVED:.0%} of memory"]
        wanted += [] if self._bearable(pairs, closings) is Look.ACCEPT else [f"be at most {self.slowdown:.0%} slower"]
        return f"not proven to {' and to '.join(wanted)}{f' ({self.told(pairs)})' if pairs else ''}"

    def lighter(
        self, setup: Setup, pinned: Setup, last: Sequence[Pair], pairs: Sequence[Pair], closings: Sequence[int] = ()
    ) -> Setup | None:
        """What to confirm in place of a setup that was not: where time was short, one that costs less of it.

        The setting that was the slowest in screening takes the value that saves most among the faster ones of its knob,
        or goes.

        Args:
            setup: Not confirmed.
            pinned: Settings that the user has decided on.
            last: The pairs of that confirmation, which tell whether time was the matter.
            pairs: All of the tune.
            closings: Of that confirmation, see `stats.looks`.
        """
        if not last or self._saves(last, closings) is Look.DROP or self._bearable(last, closings) is Look.ACCEPT:
            return None
        costs, savings = dict[Setting, float](), dict[Setting, float]()
        screened = [pair for pair in pairs if pair.stage == "screen"]
        for changed, own in blocks.by_setup(screened).items():
            added = changed.less(own[0].beside).settings
            if len(added) == 1:
                costs[added[0]] = -fmean(map(blocks.log_gain, own))
                savings[added[0]] = fmean(map(blocks.log_saving, own))
        free = [setting for setting in setup.settings if setting.knob not in pinned.values]
        slowest = max(free, key=lambda setting: costs.get(setting, 0.0), default=None)
        if slowest is None or slowest not in costs:
            return None
        faster = [s for s in costs if s.knob == slowest.knob and costs[s] < costs[slowest] and savings[s] > KEEP]
        rest = setup.without(slowest.knob)
        best = max(faster, key=lambda setting: savings[setting], default=None)
        return rest.with_(best.knob, best.value) if best else rest

    def further(self) -> Smaller:
        """The aim of the next setup that is confirmed."""
        return replace(self, share=self.share / 2)


Aim = Faster | Smaller


def aim_of(request: Request) -> Aim:
    """What the user wants, as the tune goes about it."""
    return Smaller(request.slowdown) if request.goal is Goal.MEMORY else Faster()
