"""Fresh pairs: the proof that a setup is faster, and the price of what the user asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1, log

from hotlap import stats
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Curve, Pair, Setup
from hotlap.stats import Look
from hotlap.trials import blocks
from hotlap.trials.blocks import Window

STAGE = "confirm"
_MOST_DISTURBED = 0.25  # of the confirmation pairs; beyond that the machine is no place to measure
_PRICED = stats.LOOKS[1]  # pairs for a price, which nothing has to be proven of


@dataclass(frozen=True)
class Confirmation:
    """What the pairs of a confirmation say."""

    ratios: list[float]
    """ln of how many times faster the setup is than the asked-for settings alone, which are none in most tunes."""
    total: list[float]
    """The same over the script as written."""
    curves: list[Curve]
    """Losses of the script as written and of the setup."""


def confirm(lab: Lab, setup: Setup, window: Window, asked: Setup = AS_WRITTEN) -> Confirmation:
    """Fresh pairs until a look decides, the pairs run out or the budget ends.

    Args:
        lab: Where they run.
        setup: On trial.
        window: How long to measure.
        asked: Settings that the user asked for whatever they cost: run in every block as well, and to be beaten.
    """
    arms = [asked, setup] if asked.settings else [setup]
    pairs: list[Pair] = []
    while len(good := blocks.undisturbed(pairs)) < stats.LOOKS[-1]:
        if len(pairs) - len(good) > max(1.0, _MOST_DISTURBED * len(pairs)):
            lab.cut_short = f"the machine was disturbed in {len(pairs) - len(good)} of {len(pairs)} confirmation pairs"
            break
        if not lab.affordable([AS_WRITTEN, *arms]):
            lab.cut_short = f"the budget ended after {len(good)} confirmation pairs"
            break
        more = lab.block(STAGE, AS_WRITTEN, arms, window)
        if len(more) < len(arms):
            break  # a candidate failed here, which has been written down
        pairs.append(more[-1])
        ratios = gains(lab.pairs, setup, asked)
        lab.learnt(f"confirmation pair {len(pairs)}: {expm1(gains(more, setup, asked)[0]):+.0%}")
        if len(ratios) in stats.LOOKS and stats.look(ratios) is not Look.CONTINUE:
            break
    good = blocks.undisturbed(pairs)
    if len(good) < len(pairs):
        lab.learnt(f"{len(pairs) - len(good)} of {len(pairs)} pairs dropped: their baseline was disturbed")
    return _confirmation(lab, setup, asked)


def price(lab: Lab, asked: Setup, window: Window) -> Confirmation:
    """As many pairs of the asked-for settings with the script as written as tell what they cost, or as are paid for."""
    while len(gains(lab.pairs, asked)) < _PRICED and lab.affordable([AS_WRITTEN, asked]):
        more = lab.block(STAGE, AS_WRITTEN, [asked], window)
        if not more:
            break
        lab.learnt(f"the price of {asked}: {expm1(blocks.log_gain(more[0])):+.0%}")
    return _confirmation(lab, asked)


def gains(pairs: Sequence[Pair], setup: Setup, asked: Setup = AS_WRITTEN) -> list[float]:
    """ln of how many times faster a setup is than the asked-for settings, in each block that was not disturbed."""
    alone = {pair.block: pair.candidate_s for pair in of(pairs, asked)} if asked.settings else {}
    good = blocks.undisturbed(of(pairs, setup))
    return [log(alone.get(pair.block, pair.reference_s) / pair.candidate_s) for pair in good]


def of(pairs: Sequence[Pair], setup: Setup) -> list[Pair]:
    """The confirmation pairs of a setup."""
    return [pair for pair in pairs if pair.stage == STAGE and pair.setup == setup]


def _confirmation(lab: Lab, setup: Setup, asked: Setup = AS_WRITTEN) -> Confirmation:
    curves = [lab.curve(pair) for pair in of(lab.pairs, setup)]
    return Confirmation(gains(lab.pairs, setup, asked), gains(lab.pairs, setup), curves)
