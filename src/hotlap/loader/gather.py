"""Takes rows of a tensor into a batch's own memory, in one copy, on this thread."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import torch

from hotlap.loader.getitem import UnfitError

# bench/whole_batch.py with two threads: 1.9x at 12 KiB (1.2x in batches of 512), 0.98x at 48 KiB.
_LARGE_ROW_BYTES = 1 << 14
_ONE_THREAD = 1 << 15  # elements, up to which torch's index_select keeps to one thread (at::internal::GRAIN_SIZE)
_OUTSIDE = "an index counts from the end or lies outside"
_NOT_SELECTED = (torch.uint16, torch.uint32)  # by index_select, which lacks them


class Indices:
    """The indices of one batch."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self._tensor: torch.Tensor | None = None

    def mapped(self, table: Sequence[Any]) -> Indices:
        """The indices that a Subset asks its dataset for."""
        return Indices([table[index] for index in self.items])

    def tensor(self) -> torch.Tensor:
        """As integers, which may count from the end or lie outside."""
        if self._tensor is None:
            numpy = sys.modules.get("numpy")
            if not set(map(type, self.items)) <= ({int} if numpy is None else {int, numpy.int64, numpy.int32}):
                raise UnfitError("the sampler serves other indices than integers")
            if numpy is None:
                self._tensor = torch.tensor(self.items, dtype=torch.int64)
            else:  # several times as fast
                self._tensor = torch.from_numpy(numpy.array(self.items, dtype=numpy.int64))
        return self._tensor


def gather(source: torch.Tensor, indices: Indices, shared: bool) -> torch.Tensor:
    """The rows of these indices, in memory that other processes can map where it is to be shared."""
    picked, rows, count = indices.tensor(), source.shape[0], len(indices.items)
    if not rows:
        raise UnfitError(_OUTSIDE)
    row = source.numel() // rows
    if row * source.itemsize > _LARGE_ROW_BYTES and torch.get_num_threads() > 1:
        raise UnfitError("the rows are so large that torch's threads stack them as fast")
    few = row * count <= _ONE_THREAD and source.dtype not in _NOT_SELECTED
    out = None if few and not shared else empty((count, *source.shape[1:]), source.dtype, shared)
    if out is None or few or "numpy" not in sys.modules or not source.is_contiguous():  # numpy would copy it whole
        return _selected(source, picked, out)
    if min(indices.items) < 0 or max(indices.items) >= rows:
        raise UnfitError(_OUTSIDE)
    # One memcpy per row on this thread; torch would wake its thread pool, which costs more than a batch.
    _rows_of(source).take(picked.numpy(), axis=0, out=_rows_of(out), mode="clip")
    return out


def _selected(source: torch.Tensor, picked: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
    try:
        return torch.index_select(source, 0, picked) if out is None else torch.index_select(source, 0, picked, out=out)
    except IndexError:  # a row counts from the end, which stock allows, or lies outside
        raise UnfitError(_OUTSIDE) from None


def _rows_of(tensor: torch.Tensor) -> Any:
    """The rows of a contiguous tensor as opaque items of an array of numpy.

    By address: `Tensor.numpy()` would forbid the tensor, the user's or the batch, to be resized ever after.
    """
    row_bytes = tensor.nbytes // tensor.shape[0]
    memory = (ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr())
    return sys.modules["numpy"].frombuffer(memory, dtype=f"V{row_bytes}")


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
