"""Fresh pairs: the proof that a setup is faster, or holds less memory."""

from __future__ import annotations

from hotlap import stats
from hotlap.goals import Aim, Faster
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Curve, Pair, Setup
from hotlap.stats import Look
from hotlap.trials import blocks
from hotlap.trials.blocks import Window

_MOST_DISTURBED = 0.25  # of the confirmation pairs; beyond that the machine is no place to measure


_FASTER = Faster()


def confirm(lab: Lab, setup: Setup, window: Window, aim: Aim = _FASTER) -> tuple[list[Pair], list[Curve]]:
    """Fresh pairs until a look decides, the pairs run out or the budget ends.

    Returns:
        The pairs that were not disturbed, and the losses of all.
    """
    pairs: list[Pair] = []
    while len(good := blocks.undisturbed(pairs)) < stats.LOOKS[-1]:
        if len(pairs) - len(good) > max(1.0, _MOST_DISTURBED * len(pairs)):
            lab.cut_short = f"the machine was disturbed in {len(pairs) - len(good)} of {len(pairs)} confirmation pairs"
            break
        if not lab.affordable([AS_WRITTEN, setup]):
            lab.cut_short = f"the budget ended after {len(good)} confirmation pairs"
            break
        more = lab.block("confirm", AS_WRITTEN, [setup], window)
        if not more:
            break  # the candidate failed here, which has been written down
        pairs += more
        lab.learnt(f"confirmation pair {len(pairs)}: {aim.told(more)}")
        good = blocks.undisturbed(pairs)
        if len(good) in stats.LOOKS and aim.look(good) is not Look.CONTINUE:
            break
    good = blocks.undisturbed(pairs)
    if len(good) < len(pairs):
        lab.learnt(f"{len(pairs) - len(good)} of {len(pairs)} pairs dropped: their baseline was disturbed")
    return good, [lab.curve(pair) for pair in pairs]
