"""How many worker processes keep up with a training, by the operational law, and whether any can pay."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from hotlap.records import Loader

_SMALL_SHARE = 0.02
_TIMES_CARRIED = 1.5
_IN_HAND = 1.2
"""Fetching takes longer beside the training than in its pauses, and not every batch takes the same."""


def why_nothing_to_gain(training: Sequence[Loader]) -> str:
    """Why it cannot pay to fetch in other processes for the loaders that feed the training; "" when it may."""
    shares = [
        one.wait_s / (one.wait_s + one.use_s) for one in training if one.wait_s is not None and one.use_s is not None
    ]
    if len(shares) == len(training) and max(shares) < _SMALL_SHARE:
        return f"the training waits for its batches for less than {_SMALL_SHARE:.0%} of the time"
    times = [one.fetch_s / one.carry_s for one in training if one.fetch_s and one.carry_s and not one.num_workers]
    if len(times) == len(training) and max(times) < _TIMES_CARRIED:
        return "a batch takes about as long to be handed from process to process as to be fetched"
    return ""


def counts(training: Sequence[Loader], cores: int) -> list[int]:
    """Numbers of workers worth trying, likeliest first.

    A batch is used in `use_s`, and received in `carry_s` at least; W workers make one in `fetch_s / W`. Where those
    times were not seen, it is fractions of the cores.

    >>> counts([], 8)
    [4, 8, 2]
    """
    needed = [
        ceil(_IN_HAND * one.fetch_s / max(one.use_s, one.carry_s or 0.0))
        for one in training
        if one.fetch_s is not None and one.use_s
    ]
    if not needed:
        return [cores // 2, cores, cores // 4]
    count = max(1, min(max(needed), cores))
    return [count, count + 1, count - 1]
