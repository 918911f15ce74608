"""The rows or windows of one tensor, array or list that a batch takes, collated as stock does."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch.utils.data import default_collate, get_worker_info

from hotlap.loader.gather import Indices, empty, gather
from hotlap.loader.tree import INDEX, Astype, Linear, Row, UnfitError, number

_NUMPY_TYPES = "?bhilBHIefdFD"
DTYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
}


def rows_of(source: Any, row: Row, attributes: Mapping[str, Any], indices: Indices, column: type) -> Any:
    """One field of a batch.

    Args:
        source: What the rows are taken from.
        row: Which of them.
        attributes: Of the dataset, by name.
        indices: Of the batch.
        column: As what stock passes columns of samples to collate.

    Raises:
        UnfitError: It is not certain to come out as stock makes it.
    """
    if row.start is not INDEX:
        indices = indices.times(number(row.start.factor, attributes), number(row.start.offset, attributes))
    if type(source) in (list, tuple):
        return _of_list(source, row, indices, column)
    kinds = ("element", "tensor") if isinstance(source, torch.Tensor) else ("scalar", "array")
    if kinds[0] == "scalar":
        source = _from_numpy(source, row.changes)
    _check(source)
    if row.stop is not None:
        source = _windows(source, row, attributes)
    for cut in row.cuts:
        source = _cut(source, *cut, attributes)
    sample, dtype = kinds[source.dim() > 1], source.dtype
    casts: list[torch.dtype] = []
    for change in row.changes:
        sample, to = _changed(sample, dtype, change)
        casts += () if to is dtype else (to,)
        dtype = to
    shared = sample not in ("scalar", "number") and get_worker_info() is not None
    if not casts:
        return gather(source, indices, shared)
    batch = gather(source, indices, False)
    for to in casts:  # one by one, for each may take something off
        batch = batch.to(to)
    if source.dtype is torch.float64 and any(isinstance(change, Astype) for change in row.changes):
        _check_cast(batch)
    return empty(batch.shape, batch.dtype, shared).copy_(batch) if shared else batch


def _check_cast(batch: torch.Tensor) -> None:
    """Numpy warns, or raises where the script asked for it, of numbers that become too large or too small."""
    if bool(batch.isinf().any()) or sys.modules["numpy"].geterr()["under"] != "ignore":
        raise UnfitError("numpy may have something to say of its numbers as another type")


def _windows(source: torch.Tensor, row: Row, attributes: Mapping[str, Any]) -> torch.Tensor:
    """All windows of the source by their first row, (places, length, ...), in the same memory."""
    assert row.stop is not None
    if number(row.start.factor, attributes) != number(row.stop.factor, attributes):
        raise UnfitError("its windows differ in length")
    length = number(row.stop.offset, attributes) - number(row.start.offset, attributes)
    if not 0 < length <= len(source) or not source.is_contiguous():
        raise UnfitError("its windows are empty or larger than all, or their memory is not contiguous")
    step = math.prod(source.shape[1:])
    return source.as_strided((len(source) - length + 1, length, *source.shape[1:]), (step, *source.stride()))


def _cut(
    source: torch.Tensor, lower: Linear | None, upper: Linear | None, attributes: Mapping[str, Any]
) -> torch.Tensor:
    ends = (None if end is None else number(end.offset, attributes) for end in (lower, upper))
    start, stop, _ = slice(*ends).indices(source.shape[1] if source.dim() > 1 else 0)
    if start >= stop:
        raise UnfitError("it cuts off all of a row")
    return source.narrow(1, start, stop - start)


def _of_list(source: Any, row: Row, indices: Indices, column: type) -> Any:
    if row.stop is not None or row.cuts:
        raise UnfitError("it is a list, of which slices are taken")
    values: Any = [source[index] for index in indices.items]
    for change in row.changes:
        if change not in ("int", "float"):
            raise UnfitError("it is a list whose items are converted")
        values = [(int if change == "int" else float)(value) for value in values]
    return default_collate(column(values))


def _from_numpy(source: Any, changes: tuple[Any, ...]) -> torch.Tensor:
    numpy = sys.modules.get("numpy")
    if numpy is None or type(source) not in (numpy.ndarray, numpy.memmap):
        raise UnfitError(f"it is no tensor, array or list but a {type(source).__module__}.{type(source).__qualname__}")
    if source.dtype.char not in _NUMPY_TYPES or not source.dtype.isnative:
        raise UnfitError(f"torch reads arrays of dtype {source.dtype} in its own way")
    if any(stride < 0 for stride in source.strides):
        raise UnfitError("the array is reversed")
    if source.flags.writeable:
        return torch.from_numpy(source)
    if not (
        changes
        and isinstance(changes[0], Astype)
        and source.flags.c_contiguous
        and source.flags.aligned
        and source.size
    ):
        raise UnfitError("the array is read-only, of which torch warns")
    memory: Any = (ctypes.c_char * source.nbytes).from_address(source.__array_interface__["data"][0])
    memory.owner = source  # which the script may let go of while it is copied
    return torch.frombuffer(memory, dtype=_dtype(source.dtype)).view(source.shape)


@lru_cache(maxsize=32)
def _dtype(of: Any) -> torch.dtype:
    return torch.from_numpy(sys.modules["numpy"].empty(0, of)).dtype


def _check(source: torch.Tensor) -> None:
    if _is_common(source):  # in every batch, so it has to be quick
        return
    if type(source) is not torch.Tensor or source.requires_grad:
        raise UnfitError(
            f"it is a {type(source).__name__}" + (" that requires gradients" if source.requires_grad else "")
        )
    if source.layout is not torch.strided or source.is_nested or source.is_conj() or source.is_neg():
        raise UnfitError("the tensor is not plain and dense")
    if source.device.type != "cpu" or source.dtype not in DTYPES or source.dim() == 0:
        raise UnfitError(f"{source.dim()}-dimensional {source.dtype} tensors on {source.device} are not gathered")
    expected = 1
    for size, stride in zip(reversed(source.shape[1:]), reversed(source.stride()[1:])):
        if stride != expected or size == 0:
            raise UnfitError("its rows are not contiguous in memory")
        expected *= size


def _is_common(source: torch.Tensor) -> bool:
    """Whether it is certainly fit; what is not may be so still."""
    if type(source) is not torch.Tensor or not source.is_cpu or source.requires_grad or source.is_nested:
        return False
    if source.layout is not torch.strided or source.is_conj() or source.is_neg() or source.dtype not in DTYPES:
        return False
    return source.is_contiguous() and source.dim() > 0 and source.numel() > 0


def _changed(sample: str, dtype: torch.dtype, change: Any) -> tuple[str, torch.dtype]:
    """What kind of sample a conversion makes of another, where converting the batch gives the same bits."""
    whole = not (dtype.is_floating_point or dtype.is_complex)
    if change in ("from_numpy", "as_tensor", "tensor"):
        if sample == "array" or (sample == "scalar" and change != "from_numpy"):
            return ("tensor" if sample == "array" else "made"), dtype
    elif isinstance(change, Astype):
        if sample in ("scalar", "array") and not dtype.is_complex and (whole or change.dtype.is_floating_point):
            return sample, change.dtype
    elif isinstance(change, torch.dtype):
        plain = not (change.is_complex or dtype.is_complex) and (whole or change.is_floating_point)
        # Of a number, torch refuses what an integer type cannot hold; of a tensor it keeps the lower bits.
        if plain and sample == "made" and not change.is_floating_point:
            plain = torch.promote_types(dtype, change) is change
        if sample in ("element", "made", "tensor") and plain:
            return sample, change
    elif sample in ("element", "made", "scalar") and not dtype.is_complex:
        if change == "float" or (change == "item" and not whole):
            return "number", torch.float64
        if whole:
            return "number", dtype if change == "item" and dtype is torch.bool else torch.int64
    raise UnfitError(f"{change} on {dtype} {sample}s is not gathered")
