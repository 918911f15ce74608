"""Layers of sizes that the hardware's units divide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class LayerSizes(Knob):
    """Build layers of other sizes: `50257=50304`, or several, `650=704,33278=33280`.

    ## What it changes
    Wherever torch's own layers (linear, embedding, convolution, recurrent, norm, attention) are built with such a size,
    they get the other one: it is a slightly larger network, and checkpoints have its shapes.
    ## Why it can help
    Tensor cores and vector units work on tiles; what is left over fills a tile of its own, or takes a slower kernel.
    ## When it cannot
    A script that uses the number elsewhere as well (`view(-1, 650)`) fails, which is told. A size that divides well
    already, and a machine whose kernels do not care. What is learned is never the same: `hotlap race --layer-sizes`
    alone judges it.
    ## Source
    NVIDIA, "Matrix Multiplication Background"; a vocabulary of 50257 as 50304: 1.14x on an A100 (LLMs-from-scratch).
    """

    id, area, contract, when = "layer-sizes", "model", Contract.RECIPE, When.IMPORT
    suggested_only = True

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """The race alone tries it."""
        return Skip("other sizes are another network: hotlap race --layer-sizes tries them")

    def refuses(self, value: Value) -> str | None:
        """Any sizes that can be read."""
        try:
            sizes_of(value)
        except ValueError:
            return "it takes sizes and larger ones in their place, as 650=704,33278=33280"
        return None

    def install(self, value: Value, host: Host) -> None:
        """Look at every layer as it is built."""
        from hotlap.inside.resizing import Resizing

        Resizing(sizes_of(value), host).install()


def sizes_of(value: Value) -> dict[int, int]:
    """Each size with the larger one that takes its place.

    Raises:
        ValueError: The text is none of that kind, or a size would be taken twice.

    >>> sizes_of("650=704,33278=33280")
    {650: 704, 33278: 33280}
    """
    sizes: dict[int, int] = {}
    for pair in str(value).split(","):
        own, larger = map(int, pair.split("="))
        if own in sizes or not 0 < own < larger:
            raise ValueError(pair)
        sizes[own] = larger
    if sizes.keys() & sizes.values():
        raise ValueError(value)
    return sizes
