"""Rounds: which setup each step of an interleaved trial runs under, so that all of them share one process and moment.

A round gives every setup a few steps, in an order that is drawn anew. The first steps after a switch settle caches,
layouts and thread pools and are not counted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

NOT_COUNTED = 0


class Turn(NamedTuple):
    """One setup's part of a round, in steps."""

    settle: int
    keep: int

    @property
    def steps(self) -> int:
        """From one switch to the next."""
        return self.settle + self.keep


def turn_for(step_s: float, least_s: float = 0.15, most: int = 50) -> Turn:
    """At least two counted steps, and at least `least_s` of them."""
    return Turn(settle=2, keep=min(most, max(2, round(least_s / max(step_s, 1e-6)))))


def schedule(setups: int, turn: Turn, seed: int) -> Iterator[tuple[int, bool]]:
    """For each step the place of its setup, from 0, and whether it is counted; without end."""
    draw = random.Random(seed)
    while True:
        for place in draw.sample(range(setups), setups):
            for step in range(turn.steps):
                yield place, step >= turn.settle


def turns(arms: Sequence[int], values: Sequence[float | None], setups: int) -> list[dict[int, float]]:
    """The mean of a step's value in each setup's turn, round by round; a round that is not whole is left out.

    Args:
        arms: Of each step: the place of its setup, from 1, or `NOT_COUNTED`.
        values: Of each step; None where it is no measure.
        setups: How many there are.
    """
    found: list[tuple[int, list[float]]] = []
    for arm, steps in groupby(zip(arms, values, strict=True), key=lambda step: step[0]):
        if arm != NOT_COUNTED:
            found.append((arm, [value for _, value in steps if value is not None]))
    whole = [found[first : first + setups] for first in range(0, len(found) // setups * setups, setups)]
    return [{arm: sum(of) / len(of) for arm, of in one} for one in whole if all(of for _, of in one)]
