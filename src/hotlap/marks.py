"""Marks: what the recorder writes down while a training runs, as numbers, and the parent divides into phases.

A mark is `time [ns] << 4 | what happened`. The inside only notes; what it means is worked out afterwards. From `FETCH`
on a mark is followed by two more numbers, `which` and `more`.
"""

from __future__ import annotations

import binascii
from array import array
from collections.abc import Iterator, Sequence

FETCHED = 0  # also the end of what starts an iteration
RETURN = 1
BACKWARD = 2
BACKWARD_END = 3
UPDATE = 4
UPDATE_END = 5
COPY = 6  # a tensor is being copied to another device
COPIED = 7

FETCH = 8  # fetching begins; which: the iterator
EPOCH_START = 9  # fetching begins that is part of starting an iteration; which: the iterator, 0 if there is none yet
CALL = 10  # a root is called; which: the root; more: samples << 2 | training << 1 | gradients on
STEP = 11  # a step ended; which: graphs compiled so far; more: the setup it counts for, see `rounds`
RESUME = 12  # what the recorder did since the last mark counts for nobody; which: the next step, 0 for one more

_LONG = FETCH


def about(call: int) -> tuple[int, bool, bool]:
    """Samples of a call, whether the root is in training mode and whether gradients are on."""
    return call >> 2, bool(call & 2), bool(call & 1)


def text(numbers: Sequence[int]) -> str:
    """Marks one after another, for a journal."""
    return binascii.b2a_base64(array("q", numbers).tobytes(), newline=False).decode("ascii")


def read(text: str) -> Iterator[tuple[int, int, int, int]]:
    """Back from `text`: time [ns], what happened, which, more."""
    numbers = iter(array("q", binascii.a2b_base64(text)))
    for mark in numbers:
        what = mark & 15
        yield (mark >> 4, what, next(numbers), next(numbers)) if what >= _LONG else (mark >> 4, what, 0, 0)
