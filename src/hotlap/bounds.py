"""What each area could give at most, and what the script's own wishes cost.

Both come from variants of the untouched script that leave something out: an area's work, or what the script asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp

from hotlap import ranking, stats
from hotlap.knobs import BOUNDS, knob_by_id
from hotlap.knobs.knob import Knob
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Estimate, Pair, Setup, Skip
from hotlap.report import words
from hotlap.trials import blocks
from hotlap.trials.blocks import Window

STAGE = "bound"
_MOST, _MOST_S = 0.06, 20.0  # of the budget, and in all; phases bound the areas as well, only less surely
_STEPS = 0.5  # of a screening window: a bound need not be as sharp as a gain


def learn_bounds(lab: Lab, window: Window, knobs: Sequence[Knob]) -> dict[str, Estimate]:
    """Area to how many times faster a step would be without that area's work, where that can be measured in rounds.

    Args:
        lab: Where it is measured, and where the prices of what the script asks for go as well.
        window: Of screening.
        knobs: That the user lets a tune turn or measure: what rounds need beside them comes from these.
    """
    assert lab.facts is not None
    priced = [knob.id for knob in knobs if knob.suggested_only]
    asked = {id_: knob_by_id(id_).choices(lab.facts) for id_ in (*BOUNDS, *priced)}
    setups = [Setup.of({id_: values[0]}) for id_, values in asked.items() if not isinstance(values, Skip)]
    short = replace(window, steps=round(_STEPS * window.steps))
    company = ranking.steadying(lab.facts, window.step_s, [knob for knob in knobs if knob.id not in priced])
    inside, _ = ranking.divided(lab.facts, AS_WRITTEN, setups, short, company)
    dear = ranking.cost_s(lab, AS_WRITTEN, inside, short, company) > min(_MOST * lab.budget_s, _MOST_S)
    if inside and not dear:
        ranking.in_rounds(lab, STAGE, AS_WRITTEN, inside, short, company)
    found, prices = bounds_of(lab.pairs), prices_of(lab.pairs)
    undone = {id_ for id_ in priced if id_ not in prices and asked[id_] == (False,)}
    lab.notes += [
        f"what the script asks for has its price, not measured here: --set {id_}=false" for id_ in sorted(undone)
    ]
    if found:
        lab.learnt(f"at most {words.bounds(found, lab.pairs)}")
    if prices:
        lab.learnt(f"the script asks for it: {words.prices(prices)}")
    return found


def bounds_of(pairs: Sequence[Pair]) -> dict[str, Estimate]:
    """Area to its bound, from the pairs of a tune."""
    return {knob_by_id(id_).area: gain for id_, gain in _variants(pairs).items() if id_ in BOUNDS}


def prices_of(pairs: Sequence[Pair]) -> dict[str, Estimate]:
    """Knob that undoes what the script asks for to how many times faster a step is without that."""
    return {id_: gain for id_, gain in _variants(pairs).items() if id_ not in BOUNDS}


def _variants(pairs: Sequence[Pair]) -> dict[str, Estimate]:
    gains: dict[str, list[float]] = {}
    for pair in pairs:
        if pair.stage == STAGE:
            (variant,) = pair.setup.less(pair.beside).settings
            gains.setdefault(variant.knob, []).append(blocks.log_gain(pair))
    return {id_: stats.speedup([[exp(g)] for g in of], [[1.0]] * len(of)) for id_, of in gains.items() if len(of) > 1}
