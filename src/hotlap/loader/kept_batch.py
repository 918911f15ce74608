"""A batch straight from what is kept of its samples: one copy per field, as default_collate makes it of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import default_collate, get_worker_info

from hotlap.loader.cached import Cached
from hotlap.loader.gather import Indices, empty, gather
from hotlap.loader.samples import Memory, Node
from hotlap.loader.tree import UnfitError
from hotlap.loader.whole_batch import check_stock

Kept = tuple[Node, int]
"""The form of a value, and where the memory of its sample begins."""


class TorchCollatesError(UnfitError):
    """Samples like these torch must put together."""


def kept_batch(cached: Cached, indices: Sequence[Any]) -> Any:
    """The collated batch of these samples, in memory of its own.

    Raises:
        UnfitError: One of them is not kept as a whole.
        TorchCollatesError: They do not fit into one copy per field.
    """
    check_stock()
    samples = [cached.whole(index) for index in indices]
    batch = _field(cached.store.memory, samples, shared=get_worker_info() is not None)
    cached.hits += len(samples)
    return batch


def _field(memory: Memory, values: Sequence[Kept], *, shared: bool) -> Any:
    kind = values[0][0][0]
    if any(node[0] != kind for node, _ in values):
        raise TorchCollatesError("the samples differ in kind")
    if kind == "tensor":
        return _stacked(memory, values, shared)
    if kind == "plain":
        return default_collate([node[1] for node, _ in values])
    if kind not in ("tuple", "list", "dict"):
        raise TorchCollatesError(f"torch collates a {kind}")
    keys = values[0][0][1] if kind == "dict" else None
    if len({len(node[-1]) for node, _ in values}) > 1 or (keys and any(node[1] != keys for node, _ in values)):
        raise TorchCollatesError("the samples differ in form")
    columns = zip(*[[(item, start) for item in node[-1]] for node, start in values])
    fields = [_field(memory, column, shared=shared) for column in columns]
    return fields if keys is None else dict(zip(keys, fields))


def _stacked(memory: Memory, values: Sequence[Kept], shared: bool) -> torch.Tensor:
    _, dtype, shape, strides, used, _ = values[0][0]
    if any(node[1:5] != (dtype, shape, strides, used) for node, _ in values):
        raise TorchCollatesError("the samples differ in shape")
    if strides != torch.empty(shape, device="meta").stride():
        raise TorchCollatesError("the samples are not contiguous")
    if not used:
        return empty((len(values), *shape), dtype, shared)
    return gather(memory.rows(dtype, shape), Indices([memory.row(start + node[5]) for node, start in values]), shared)
