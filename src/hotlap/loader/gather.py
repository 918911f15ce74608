"""Takes rows of a tensor into a batch's own memory, in one copy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from hotlap.loader.tree import UnfitError

_SELECTED_AS = {torch.uint16: torch.int16, torch.uint32: torch.int32}
"""Types that index_select lacks."""
_LARGE_ROW = 1 << 14
"""Elements, above which it is faster to take a row in parts: from twice as many on, torch copies row after row."""
_CONTIGUOUS = torch.contiguous_format
_OUTSIDE = "an index counts from the end or lies outside"


class Indices:
    """The indices of one batch."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self._rows: slice | torch.Tensor | None = None
        self._others: dict[tuple[int, int], Indices] = {}

    def mapped(self, table: Sequence[Any]) -> Indices:
        """The indices that a Subset asks its dataset for."""
        return Indices([table[index] for index in self.items])

    def times(self, factor: int, offset: int) -> Indices:
        """So many times as far, and then some."""
        known = self._others.get((factor, offset))
        if known is None:
            self.rows()  # whether they are integers
            if (numpy := sys.modules.get("numpy")) and numpy.int32 in set(map(type, self.items)):
                raise UnfitError("numpy computes with integers of 32 bits in its own way")
            known = self._others[factor, offset] = Indices([index * factor + offset for index in self.items])
        return known

    def rows(self) -> slice | torch.Tensor:
        """A slice where each follows on the last; else integers, which may count from the end or lie outside."""
        if self._rows is None:
            self._rows = _rows(self.items)
        return self._rows


def _rows(items: list[Any]) -> slice | torch.Tensor:
    numpy = sys.modules.get("numpy")
    if not set(map(type, items)) <= ({int} if numpy is None else {int, numpy.int64, numpy.int32}):
        raise UnfitError("the sampler serves other indices than integers")
    start = int(items[0])
    stop = start + len(items)
    if items[-1] == stop - 1 and start >= 0 and items == list(range(start, stop)):
        return slice(start, stop)
    if numpy is None:
        return torch.tensor(items, dtype=torch.int64)
    return torch.from_numpy(numpy.array(items, dtype=numpy.int64))  # several times as fast


def gather(source: torch.Tensor, indices: Indices, shared: bool) -> torch.Tensor:
    """The rows of these indices, in memory that other processes can map where it is to be shared."""
    rows = indices.rows()
    if isinstance(rows, slice):
        if rows.stop > source.shape[0]:
            raise UnfitError(_OUTSIDE)
        run = source[rows]
        return empty(run.shape, run.dtype, True).copy_(run) if shared else run.clone(memory_format=_CONTIGUOUS)
    row = source.numel() // (source.shape[0] or 1)
    try:
        if source.dtype not in _SELECTED_AS and not shared and row <= _LARGE_ROW:
            return torch.index_select(source, 0, rows)
        return _selected(source, rows, row, empty((len(rows), *source.shape[1:]), source.dtype, shared))
    except IndexError:  # a row counts from the end, which stock allows, or lies outside
        raise UnfitError(_OUTSIDE) from None


def _selected(source: torch.Tensor, rows: torch.Tensor, row: int, out: torch.Tensor) -> torch.Tensor:
    """The rows, of so many elements each, in memory that is there already."""
    kind = _SELECTED_AS.get(source.dtype, source.dtype)
    parts = 1
    while row > _LARGE_ROW * parts and row % (2 * parts) == 0 and source.is_contiguous():
        parts *= 2
    batch, source = out.view(kind), source.view(kind)
    if parts > 1:
        if max(abs(int(end)) for end in rows.aminmax()) > source.numel():
            raise UnfitError(_OUTSIDE)  # so far that its parts could be something else's
        rows = (rows.unsqueeze(1) * parts + torch.arange(parts)).view(-1)
        source, batch = source.view(-1, row // parts), batch.view(-1, row // parts)
    torch.index_select(source, 0, rows, out=batch)
    return out


def empty(shape: Sequence[int], dtype: torch.dtype, shared: bool) -> torch.Tensor:
    """Memory for one field, as default_collate takes it: in a worker process, what holds tensors is shared."""
    out = torch.empty(0 if shared else shape, dtype=dtype, device="cpu")
    if not shared:
        return out
    elements = 1
    for size in shape:
        elements *= size
    storage = out._typed_storage()._new_shared(elements, device=out.device)
    return out.new(storage).resize_(*shape)
