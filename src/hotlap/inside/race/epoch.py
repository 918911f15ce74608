"""Gradient descent: one update per epoch, by the mean gradient of its samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch

from hotlap.inside.calls import tensors_in
from hotlap.inside.race import refusals
from hotlap.inside.race.refusals import refuse


class Batches:
    """What the loaders have handed over since the last step."""

    def __init__(self) -> None:
        self._count: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._last: Callable[[], Any] = lambda: None
        self._rows: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def handed(self, iterator: Any, batch: Any) -> Any:
        """An iterator hands over this batch."""
        self._count[iterator] = self._count.get(iterator, 0) + 1
        self._last = ref(iterator)
        self._rows[iterator] = self._rows.get(iterator, 0) + next((t.size(0) for t in tensors_in(batch) if t.dim()), 1)
        return batch

    @property
    def are_countable(self) -> bool:
        """Whether the batches come from a loader of known length."""
        try:
            return len(self._last()) > 0
        except TypeError:  # there is none, or its dataset does not say
            return False

    @property
    def at_end(self) -> bool:
        """Whether the last batch was the last of its epoch."""
        iterator = self._last()
        return iterator is not None and self._count[iterator] >= len(iterator)

    def take_rows(self) -> int:
        """Samples since the last time of the loader that came last, and not of an evaluation before; at least 1."""
        rows = self._rows.get(self._last(), 0)
        self._rows.clear()
        return max(rows, 1)


class Epoch:
    """The gradients of the epoch under way, weighted by their samples."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._sums: dict[Any, torch.Tensor] = {}
        self._rows = 0

    def check(self) -> None:
        """Refuse a script whose epochs cannot be told apart.

        Raises:
            RefusalError: Its batches come from no loader of known length.
        """
        refuse(not self._batches.are_countable, refusals.NO_LOADER)

    def step(self, optimizer: Any, update: Callable[[], None]) -> None:
        """Add the gradients of a step; at the end of the epoch update with their mean."""
        rows = self._batches.take_rows()
        self._rows += rows
        owned = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        for p in owned:
            if p in self._sums:
                self._sums[p].add_(p.grad, alpha=rows)
            else:
                self._sums[p] = p.grad * rows
        if not self._batches.at_end:
            return
        of_step = [(p, p.grad) for p in self._sums]
        for p, total in self._sums.items():
            p.grad = total.div_(self._rows)
        update()
        for p, gradient in of_step:
            p.grad = gradient
        self._sums, self._rows = {}, 0
