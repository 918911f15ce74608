"""The schedule of a script as a whole, from the learning rates that a run recorded."""

from __future__ import annotations

from collections.abc import Sequence

from hotlap.race.arm import POINTS, Arm
from hotlap.race.rules import RULES

_CORNERS = 24
_FLAT = 0.999
_WARM_UP = "points:0/0.02,0.05/1,1/1"
"""For averaging rules, which need a warm-up and no decay (Schedule-Free's README)."""

Rates = Sequence[tuple[int, tuple[float, ...]]]


def peak(rates: Rates) -> float | None:
    """The highest learning rate of any group over the whole run; None when none was seen."""
    found = [max(groups) for _, groups in rates if groups]
    return max(found) if found and max(found) > 0 else None


def own_schedule(rates: Rates, steps: int) -> str:
    """The script's own schedule as `points:`, so that it can be shortened as a whole; "" when its rate is constant.

    Args:
        rates: Step from 1, and the rate of each group from then on.
        steps: Of the whole training.
    """
    highest = peak(rates)
    if highest is None:
        return ""
    changes = [(step, max(groups) / highest) for step, groups in rates if groups and step <= steps]
    if min(multiplier for _, multiplier in changes) > _FLAT:
        return ""
    corners: list[tuple[float, float]] = []
    for place, (step, multiplier) in enumerate(changes):
        if place and step - changes[place - 1][0] > 1:  # until then it stood
            corners.append(((step - 2) / steps, changes[place - 1][1]))
        corners.append(((step - 1) / steps, multiplier))
    corners = thinned(corners)
    first, last = corners[0][1], corners[-1][1]
    inner = [f"{share:.4g}/{multiplier:.4g}" for share, multiplier in corners if 0 < share < 1]
    return POINTS + ",".join([f"0/{first:.4g}", *inner, f"1/{last:.4g}"])


def thinned(corners: Sequence[tuple[float, float]], most: int = _CORNERS) -> list[tuple[float, float]]:
    """At most so many of the corners, evenly, the first, the last and the highest always among them."""
    if len(corners) <= most:
        return list(corners)
    places = {round(place * (len(corners) - 1) / (most - 2)) for place in range(most - 1)}
    places.add(max(range(len(corners)), key=lambda place: corners[place][1]))
    return [corners[place] for place in sorted(places)]


def schedule_for(rule: str, own: str) -> str:
    """The schedule under which a rule is tried, over whatever horizon.

    A rate that the script holds constant is let down in a line to zero, for every arm alike: at a given length that
    is what a user gains most from, and it makes the ends of runs comparable.
    """
    if rule in RULES and RULES[rule].schedule_free:
        return _WARM_UP
    return own or "linear"


def decays(arm: Arm) -> bool:
    """Whether the horizon decides how soon it is at its best."""
    return arm.schedule not in (_WARM_UP, "constant")
