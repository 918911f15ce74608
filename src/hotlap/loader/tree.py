"""What a `__getitem__` returns, as far as it only takes rows and windows of what the dataset holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union

import torch


class UnfitError(Exception):
    """Whole batches cannot be fetched at once, in plain words."""


@dataclass(frozen=True)
class Source:
    """An attribute of the dataset, not yet indexed."""

    attribute: str


@dataclass(frozen=True)
class Global:
    """A name of the dataset's module."""

    name: str
    names: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Sum:
    """Of two numbers, less the second where `sign` is -1."""

    one: Whole
    other: Whole
    sign: int = 1


@dataclass(frozen=True)
class Product:
    """Of two numbers."""

    one: Whole
    other: Whole


Whole = Union[int, Source, Global, Sum, Product]  # noqa: UP007 (read at run time by Python 3.10 as well)
"""A whole number that is the same for all indices of a batch."""


@dataclass(frozen=True)
class Linear:
    """A place that is so many times the index, plus something."""

    factor: Whole
    offset: Whole

    def plus(self, other: Linear, sign: int = 1) -> Linear:
        """The sum, or the difference."""
        return Linear(_sum(self.factor, other.factor, sign), _sum(self.offset, other.offset, sign))

    def times(self, other: Linear) -> Linear:
        """The product, of which one side must not depend on the index.

        Raises:
            UnfitError: Both do.
        """
        one, fixed = (self, other) if other.factor == 0 else (other, self)
        if fixed.factor != 0:
            raise UnfitError("__getitem__ multiplies the index by itself")
        return Linear(_product(one.factor, fixed.offset), _product(one.offset, fixed.offset))


def _sum(one: Whole, other: Whole, sign: int) -> Whole:
    if isinstance(one, int) and isinstance(other, int):
        return one + sign * other
    return one if other == 0 else other if one == 0 and sign > 0 else Sum(one, other, sign)


def _product(one: Whole, other: Whole) -> Whole:
    if isinstance(one, int) and isinstance(other, int):
        return one * other
    return 0 if 0 in (one, other) else other if one == 1 else one if other == 1 else Product(one, other)


INDEX = Linear(1, 0)
"""The index itself."""


@dataclass(frozen=True)
class Astype:
    """A copy of an array of numpy in this dtype."""

    dtype: torch.dtype


@dataclass(frozen=True)
class Row:
    """One row of an attribute, or several in a row."""

    attribute: str
    start: Linear = INDEX
    stop: Linear | None = None
    """Behind the last row of a window; None for a single row, which has a dimension less."""
    cuts: tuple[tuple[Linear | None, Linear | None], ...] = ()
    """Slices of that, along its first dimension."""
    changes: tuple[Any, ...] = ()
    """In order: "int", "float" or "item" to a Python number, a maker of tensors, `Astype`, or the dtype to cast to."""


@dataclass(frozen=True)
class Pack:
    """A tuple or list of parts; both are collated to a list."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Table:
    """A dict of parts."""

    keys: tuple[Any, ...]
    parts: tuple[Tree, ...]


Tree = Union[Linear, Source, Row, Pack, Table]  # noqa: UP007 (read at run time by Python 3.10 as well)


def number(whole: Whole, attributes: Mapping[str, Any]) -> int:
    """What it is now.

    Args:
        whole: The number.
        attributes: Of the dataset, by name.

    Raises:
        UnfitError: An attribute or a name in it is no integer.
    """
    if isinstance(whole, int):
        return whole
    if isinstance(whole, (Source, Global)):
        value = attributes[whole.attribute] if isinstance(whole, Source) else whole.names.get(whole.name)
        if type(value) is not int:
            raise UnfitError(f"{f'self.{whole.attribute}' if isinstance(whole, Source) else whole.name} is no integer")
        return value
    one, other = number(whole.one, attributes), number(whole.other, attributes)
    return one * other if isinstance(whole, Product) else one + whole.sign * other
