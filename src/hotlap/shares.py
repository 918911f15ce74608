"""What each setting adds to a setup, by leaving it out; and which settings add nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp

from hotlap import ranking, stats
from hotlap.lab import Lab
from hotlap.records import Estimate, Pair, Rejected, Setup
from hotlap.trials import blocks
from hotlap.trials.blocks import Window

STAGE = "leave-one-out"
_LEAST_SHARE = 1.01  # a setting whose share is proven to be less is not worth having
_BLOCKS = 3  # of fresh processes; fewer pairs give an interval that says nothing


def share(setup: Setup, knob: str, pairs: Sequence[Pair]) -> Estimate | None:
    """How many times faster the setup is than without the setting; None when that was not measured."""
    return _lost(setup, knob, pairs, blocks.log_gain)


def saving(setup: Setup, knob: str, pairs: Sequence[Pair]) -> Estimate | None:
    """How many times less memory the setup holds than without the setting; None when that was not measured."""
    return _lost(setup, knob, pairs, blocks.log_saving)


def _lost(setup: Setup, knob: str, pairs: Sequence[Pair], worth: Callable[[Pair], float]) -> Estimate | None:
    part = setup.without(knob)
    # The pair's reference is the whole setup, so its worth is what leaving the setting out loses, with the sign turned.
    lost = [-worth(p) for p in pairs if p.stage == STAGE and (p.setup, p.beside) == (part, setup)]
    return stats.speedup([[exp(ratio)] for ratio in lost], [[1.0]] * len(lost)) if len(lost) >= 2 else None


def without_passengers(lab: Lab, setup: Setup, pinned: Setup, window: Window, reserve_s: float) -> Setup:
    """The setup less the settings that are proven to add nothing to it, one after the other.

    One at a time: of two settings that stand in for each other neither adds anything while the other is there.

    Args:
        lab: Where it is measured, as far as settings can be switched in one process.
        setup: What the search found.
        pinned: Settings that the user has decided on.
        window: How long to measure each.
        reserve_s: What must be left of the budget.
    """
    while len(setup.settings) > 1 and _measure_inside(lab, setup, window, reserve_s):
        found = {knob: share(setup, knob, lab.pairs) for knob in setup.values if knob not in pinned.values}
        idle = {knob: gain for knob, gain in found.items() if gain is not None and gain.high < _LEAST_SHARE}
        if not idle:
            break
        least = min(idle, key=lambda knob: idle[knob].value)
        rest = setup.without(least)
        lab.reject(Rejected(setup.without(*rest.values), "adds nothing to the others", idle[least]))
        setup = rest
    return setup


def leave_one_out(lab: Lab, setup: Setup, window: Window) -> None:
    """Each kept setting's own share, where it is not known yet and the budget pays for it."""
    if len(setup.settings) < 2:
        return
    _measure_inside(lab, setup, window, 0.0)
    parts = _unmeasured(lab, setup)
    if parts and lab.affordable([setup, *parts] * _BLOCKS):
        for _ in range(_BLOCKS):
            lab.block(STAGE, setup, parts, window)


def _measure_inside(lab: Lab, setup: Setup, window: Window, reserve_s: float) -> bool:
    """In rounds, what can be; whether the budget allowed it."""
    assert lab.facts is not None
    parts, _ = ranking.divided(lab.facts, setup, _unmeasured(lab, setup), window)
    if not parts or ranking.cost_s(lab, setup, parts, window) + reserve_s > lab.left_s:
        return False
    ranking.rank(lab, STAGE, setup, parts, window)
    return True


def _unmeasured(lab: Lab, setup: Setup) -> list[Setup]:
    known = {pair.setup for pair in lab.pairs if pair.stage == STAGE and pair.beside == setup}
    return [part for knob in setup.values if (part := setup.without(knob)) not in known]
