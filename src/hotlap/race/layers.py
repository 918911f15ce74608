"""Layer sizes that the hardware's units divide, as a race of their own: which are worth a try."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

from hotlap.errors import HotlapError
from hotlap.knobs import LAYER_SIZES
from hotlap.race.admission import WhatIf
from hotlap.race.finals import Entry
from hotlap.records import Facts, Setup

Sizes = tuple[tuple[int, int], ...]
"""Each with the one that takes its place."""
_MULTIPLES = (64, 8)
_SMALL = 64  # sizes below are left alone
_MOST_WIDER = 0.1  # what the larger size may add
_MUCH = 0.1  # of all weights, that have such a size
_MOST = 3  # sizes that are tried


@dataclass
class Resized(WhatIf):
    """Larger sizes in the place of some, while they are screened."""

    sizes: Sizes
    steps: int
    """Of the script's training."""

    @property
    def words(self) -> str:
        """Its name for people."""
        return f"layer size{'s' * (len(self.sizes) > 1)} {in_words(self.sizes)}"

    @property
    def setup(self) -> Setup:
        """As a trial has it."""
        return Setup.of({LAYER_SIZES: ",".join(f"{own}={larger}" for own, larger in self.sizes)})

    @property
    def why_not_sooner(self) -> str:
        """A larger network that is no faster is another question."""
        return f"its step takes {self.step_ratio:.2f}x as long, so this machine gains nothing by it"

    def entry(self) -> Entry:
        """It in the finals."""
        return Entry(self.words, "layers", self.setup, self.steps)


def offered(facts: Facts, steps: int) -> list[Resized]:
    """Each size that is worth a try alone, and where there are several, all of them together.

    Args:
        facts: Of the script.
        steps: Of its training.

    Raises:
        HotlapError: There is none.
    """
    sizes = to_round_up(facts)
    together = [Resized(sizes, steps)] if len(sizes) > 1 else []
    return [*(Resized((pair,), steps) for pair in sizes), *together]


def in_words(sizes: Sizes) -> str:
    """Sizes for people.

    >>> in_words(((650, 704), (33278, 33280)))
    '650 as 704, 33278 as 33280'
    """
    return ", ".join(f"{own} as {larger}" for own, larger in sizes)


def to_round_up(facts: Facts) -> Sizes:
    """Sizes of layers that the hardware's units do not divide, those with most weights first.

    Raises:
        HotlapError: There is none.
    """
    weights = [shape for root in facts.roots for shape in root.parameter_shapes if len(shape) > 1]
    places = Counter((size, place) for shape in weights for place, size in enumerate(shape[:2]))
    elements: Counter[int] = Counter()
    for shape in weights:
        elements.update(dict.fromkeys(shape[:2], prod(shape)))
    # What a single layer takes in and no layer puts out is the data's; the gates of an LSTM are no argument of its own.
    packed = {shape[0] for shape in weights if shape[0] in (3 * shape[1], 4 * shape[1]) and not places[shape[0], 1]}
    much = _MUCH * sum(map(prod, weights))
    odd = [size for size, behind in elements.most_common() if behind >= much and rounded_up(size) != size]
    own = [size for size in odd if size not in packed and (places[size, 0] or places[size, 1] > 1)]
    found = tuple((size, rounded_up(size)) for size in own[:_MOST])
    if not found:
        what = "There is no layer size to round up: those that much of the network has divide well, or are the data's."
        raise HotlapError("no-layer-size", what, fix="nothing is to be gained here; race rules or --batch-sizes")
    return found


def rounded_up(size: int) -> int:
    """The next multiple of 64 where that is near, else of 8; sizes below 64 stay.

    >>> [rounded_up(size) for size in (10, 64, 100, 200, 650, 50257)]
    [10, 64, 104, 200, 704, 50304]
    """
    rounded = (-(-size // multiple) * multiple for multiple in _MULTIPLES)
    return next((larger for larger in rounded if size >= _SMALL and larger <= size * (1 + _MOST_WIDER)), size)
