"""The update rules that a race knows, with the range in which each is searched.

Ranges and first points: race.md's table, after the AlgoPerf search spaces and the papers of the rules. Standard library
only: the parent searches by it, and the user's process builds by it.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

SCRIPT = "script"
"""The script's own class with its own settings; no rule of the table."""


class Tier(str, Enum):
    """Which race tries a rule."""

    CLASSIC = "classic"  # every course names it, so every race screens it
    DEFAULT = "default"
    WIDE = "wide"  # only on the user's word


class Range(NamedTuple):
    """A setting: where to begin, and the range to search [log scale where both ends are above 0]."""

    first: float
    low: float
    high: float


class Rule(NamedTuple):
    """An update rule."""

    id: str
    words: str
    """Its name for people."""
    family: str
    """Rules of one family read the script's further settings (betas, eps, momentum) as their own."""
    tier: Tier
    lr: Range
    weight_decay: Range
    decoupled: bool
    """The decay shrinks the weights themselves (AdamW), and is no part of the gradient (L2)."""
    momentum: str = ""
    """What an arm's `momentum` is to it: "momentum" or "beta1"; "" where it has none."""
    default_momentum: float = 0.0
    needs_library: bool = False
    """It comes from pytorch-optimizer, which the user's interpreter must then have."""
    schedule_free: bool = False
    """It averages instead of decaying: a decaying schedule is not for it."""


_L2 = Range(0.0, 0.0, 5e-4)
_NO_DECAY = Range(0.0, 0.0, 0.0)
_DECAY = Range(1e-2, 5e-3, 1.0)
_ADAM = Range(1e-3, 1e-4, 1e-2)

RULES = {
    rule.id: rule
    for rule in (
        Rule("gradient-descent", "gradient descent", "sgd", Tier.CLASSIC, Range(0.5, 1e-2, 10.0), _L2, False),
        Rule("sgd", "SGD", "sgd", Tier.CLASSIC, Range(0.5, 1e-2, 10.0), _L2, False),
        Rule("momentum", "SGD with momentum", "sgd", Tier.CLASSIC, Range(0.1, 1e-3, 3.0), _L2, False, "momentum", 0.9),
        Rule("adagrad", "AdaGrad", "adaptive", Tier.CLASSIC, Range(1e-2, 1e-3, 0.3), _L2, False),
        Rule("rmsprop", "RMSprop", "adaptive", Tier.CLASSIC, Range(1e-3, 1e-5, 1e-2), _L2, False, "momentum"),
        Rule("adam", "Adam", "adam", Tier.CLASSIC, _ADAM, _L2, False, "beta1", 0.9),
        Rule("nesterov", "SGD, Nesterov", "sgd", Tier.DEFAULT, Range(0.1, 1e-3, 3.0), _L2, False, "momentum", 0.9),
        Rule("adamw", "AdamW", "adam", Tier.DEFAULT, _ADAM, _DECAY, True, "beta1", 0.9),
        Rule("nadamw", "NAdamW", "adam", Tier.DEFAULT, Range(1.5e-3, 1e-4, 1e-2), _DECAY, True, "beta1", 0.9),
        # Its matrices move as far per step as AdamW's (Moonlight, arXiv 2502.16982), so both parts share one rate.
        Rule("muon", "Muon with AdamW", "matrix", Tier.DEFAULT, _ADAM, Range(0.1, 1e-2, 0.3), True, "momentum", 0.95),
        Rule(
            *("schedule-free-adamw", "Schedule-Free AdamW", "schedule-free", Tier.DEFAULT, Range(2.5e-3, 5e-4, 3e-2)),
            *(Range(0.05, 0.02, 0.2), True, "beta1", 0.9),
            needs_library=True,
            schedule_free=True,
        ),
        Rule(
            *("soap", "SOAP with AdamW", "matrix", Tier.DEFAULT, Range(3e-3, 3e-4, 1e-2), _DECAY, True, "beta1", 0.95),
            needs_library=True,
        ),
        Rule("radam", "RAdam", "adam", Tier.WIDE, _ADAM, _DECAY, True, "beta1", 0.9),
        Rule("adafactor", "Adafactor", "adafactor", Tier.WIDE, Range(1e-2, 1e-3, 0.1), Range(0.0, 0.0, 0.1), True),
        Rule(
            *("lion", "Lion", "lion", Tier.WIDE, Range(1e-4, 1e-5, 1e-3), Range(0.1, 0.05, 10.0), True, "beta1", 0.9),
            needs_library=True,
        ),
        Rule(
            *("shampoo", "Shampoo with AdamW", "matrix", Tier.WIDE, Range(1.5e-3, 1e-4, 1e-2), _DECAY, True),
            *("beta1", 0.9),
            needs_library=True,
        ),
        Rule(
            *("schedule-free-sgd", "Schedule-Free SGD", "schedule-free", Tier.WIDE, Range(5.0, 0.1, 30.0)),
            *(_L2, False, "momentum", 0.9),
            needs_library=True,
            schedule_free=True,
        ),
        # It finds the rate itself: `lr` multiplies its estimate, and the schedule acts on top.
        Rule(
            *("prodigy", "Prodigy", "prodigy", Tier.WIDE, Range(1.0, 0.3, 3.0), _DECAY, True, "beta1", 0.9),
            needs_library=True,
        ),
    )
}
"""By id, in the order in which a race tries them."""
