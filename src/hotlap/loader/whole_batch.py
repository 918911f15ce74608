"""Fetches a whole batch of an in-memory dataset at once, to the bit what torch's fetcher and collation make of it.

Stock takes one row after another and stacks them; here each field is gathered in one copy into memory of its own, from
what the attribute holds at that moment. Whatever is not certain to come out the same raises, and the caller fetches
that batch by the stock path, which is also how the user's own exceptions come about.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import StackDataset, Subset, TensorDataset, get_worker_info
from torch.utils.data._utils import collate

from hotlap.loader.gather import Indices, empty, gather
from hotlap.loader.getitem import Pack, Position, Reading, Row, Table, Tree, UnfitError, read

_COLLATE = collate.default_collate
_STOCK = (collate.collate, torch.stack)
_BY_TYPE = dict(collate.default_collate_fn_map)
_GETITEM = {kind: kind.__getitem__ for kind in (TensorDataset, Subset, StackDataset)}
_NUMPY_TYPES = "?bhilBHIefdFD"
_DTYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
}

Fetch = Callable[[Any], Any]
Branch = Callable[["Indices", type], Any]


def fetch_path(dataset: Any, collate_fn: Any, auto_collation: bool) -> Fetch | str:
    """A function from the sampler's list of indices to the collated batch, or why there is none.

    The function raises (`UnfitError`, or anything else) where the batch must be fetched by the stock path.
    """
    if not auto_collation:
        return "it hands over single samples (batch_size=None)"
    if collate_fn is not _COLLATE:
        return "it has a collate_fn of its own"
    try:
        branch = _branch(dataset)

        def fetch(indices: Any) -> Any:
            if type(indices) is not list or not indices:
                raise UnfitError("the sampler does not serve lists of indices")
            check_stock()
            return branch(Indices(indices), list)

        fetch([0])
    except UnfitError as reason:
        return str(reason)
    except Exception as error:
        return f"its first sample cannot be read at once: {type(error).__name__}: {error}"
    return fetch


def check_stock() -> None:
    """Whether torch would collate as it always does.

    Raises:
        UnfitError: It would not, or a mode changes what its functions do.
    """
    if (collate.collate, torch.stack) != _STOCK or not _collates_alike():
        raise UnfitError("torch's way of collating was changed")
    if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():
        raise UnfitError("a mode is active that changes what torch functions do")


def _collates_alike() -> bool:
    """Whether what is served here is collated as ever: libraries add types of their own, as tensordict does."""
    found = collate.default_collate_fn_map
    if found == _BY_TYPE:
        return True
    known, added = list(found.items())[: len(_BY_TYPE)], list(found)[len(_BY_TYPE) :]
    return known == list(_BY_TYPE.items()) and not any(isinstance(one, kind) for kind in added for one in ((), [], {}))


# -- datasets


def _branch(dataset: Any) -> Branch:
    """From indices to the batch of one dataset. The second argument is what stock passes columns to collate as."""
    kind = type(dataset)
    if kind not in _GETITEM:
        return _of_reading(dataset, read(dataset))
    if any(name in vars(dataset) for name in ("__getitem__", "__getitems__")):
        raise UnfitError(f"this {kind.__name__} carries a patched __getitem__")
    branch = {TensorDataset: _of_tensors, Subset: _of_subset, StackDataset: _of_stack}[kind](dataset)

    def checked(indices: Indices, column: type) -> Any:
        if type(dataset) is not kind or kind.__getitem__ is not _GETITEM[kind] or "__getitems__" in vars(dataset):
            raise UnfitError(f"{kind.__name__}.__getitem__ was changed")
        return branch(indices, column)

    return checked


def _of_tensors(dataset: Any) -> Branch:
    def branch(indices: Indices, column: type) -> Any:
        return [_row(tensor, indices, (), tuple) for tensor in dataset.tensors]

    return branch


def _of_subset(dataset: Any) -> Branch:
    under = dataset.dataset
    below = _branch(under)

    def branch(indices: Indices, column: type) -> Any:
        if dataset.dataset is not under:
            raise UnfitError("the dataset below a Subset was exchanged")
        return below(indices.mapped(dataset.indices), column)

    return branch


def _of_stack(dataset: Any) -> Branch:
    named = isinstance(dataset.datasets, dict)
    parts = list(dataset.datasets.values() if named else dataset.datasets)
    branches = [_branch(part) for part in parts]

    def branch(indices: Indices, column: type) -> Any:
        now = dataset.datasets.values() if named else dataset.datasets
        if len(now) != len(parts) or any(a is not b for a, b in zip(now, parts)):
            raise UnfitError("the datasets of a StackDataset were exchanged")
        if named:
            return {key: below(indices, list) for key, below in zip(dataset.datasets, branches)}
        return [below(indices, tuple) for below in branches]

    return branch


def _of_reading(dataset: Any, reading: Reading) -> Branch:
    kind, code = type(dataset), reading.function.__code__

    def branch(indices: Indices, column: type) -> Any:
        function, attributes = reading.function, vars(dataset)
        if type(dataset).__getitem__ is not function or function.__code__ is not code or "__getitems__" in attributes:
            raise UnfitError(f"{kind.__qualname__}.__getitem__ was changed")
        for name in reading.absent:
            if attributes[name] is not None:
                raise UnfitError(f"self.{name} is set")
        return _value(reading.tree, attributes, indices, column)

    return branch


def _value(tree: Tree, attributes: dict[str, Any], indices: Indices, column: type) -> Any:
    if isinstance(tree, Pack):
        return [_value(part, attributes, indices, tuple) for part in tree.parts]
    if isinstance(tree, Table):
        return {key: _value(part, attributes, indices, list) for key, part in zip(tree.keys, tree.parts)}
    if isinstance(tree, Row):
        try:
            return _row(attributes[tree.attribute], indices, tree.changes, column)
        except UnfitError as reason:
            raise UnfitError(f"self.{tree.attribute}: {reason}") from None
    if isinstance(tree, Position):
        return _COLLATE(column(indices.items))
    raise UnfitError(f"self.{tree.attribute} is handed over whole")  # a Source


# -- rows


def _row(source: Any, indices: Indices, changes: tuple[Any, ...], column: type) -> Any:
    """One row per index of a tensor, array or list, collated as stock does."""
    if type(source) in (list, tuple):
        return _of_list(source, indices, changes, column)
    kinds = ("element", "tensor") if isinstance(source, torch.Tensor) else ("scalar", "array")
    if kinds[0] == "scalar":
        source = _from_numpy(source)
    _check(source)
    sample, dtype = kinds[source.dim() > 1], source.dtype
    for change in changes:
        sample, dtype = _changed(sample, dtype, change)
    shared = sample in ("element", "tensor", "array") and get_worker_info() is not None
    if dtype is source.dtype:
        return gather(source, indices, shared)
    batch = gather(source, indices, False).to(dtype)
    return empty(batch.shape, dtype, shared).copy_(batch) if shared else batch


def _of_list(source: Any, indices: Indices, changes: tuple[Any, ...], column: type) -> Any:
    values: Any = [source[index] for index in indices.items]
    for change in changes:
        if change not in ("int", "float"):
            raise UnfitError("it is a list whose items are converted")
        values = [(int if change == "int" else float)(value) for value in values]
    return _COLLATE(column(values))


def _from_numpy(source: Any) -> torch.Tensor:
    numpy = sys.modules.get("numpy")
    if numpy is None or type(source) not in (numpy.ndarray, numpy.memmap):
        raise UnfitError(f"it is no tensor, array or list but a {type(source).__module__}.{type(source).__qualname__}")
    if source.dtype.char not in _NUMPY_TYPES or not source.dtype.isnative:
        raise UnfitError(f"torch reads arrays of dtype {source.dtype} in its own way")
    if not source.flags.writeable:
        raise UnfitError("the array is read-only, of which torch warns")
    if any(stride < 0 for stride in source.strides):
        raise UnfitError("the array is reversed")
    return torch.from_numpy(source)


def _check(source: torch.Tensor) -> None:
    if _is_common(source):  # in every batch, so it has to be quick
        return
    if type(source) is not torch.Tensor or source.requires_grad:
        raise UnfitError(
            f"it is a {type(source).__name__}" + (" that requires gradients" if source.requires_grad else "")
        )
    if source.layout is not torch.strided or source.is_nested or source.is_conj() or source.is_neg():
        raise UnfitError("the tensor is not plain and dense")
    if source.device.type != "cpu" or source.dtype not in _DTYPES or source.dim() == 0:
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
    if source.layout is not torch.strided or source.is_conj() or source.is_neg() or source.dtype not in _DTYPES:
        return False
    return source.is_contiguous() and source.dim() > 0 and source.numel() > 0


def _changed(sample: str, dtype: torch.dtype, change: Any) -> tuple[str, torch.dtype]:
    """What kind of sample a conversion makes of another, where converting the batch gives the same bits."""
    whole = not (dtype.is_floating_point or dtype.is_complex)
    if change in ("from_numpy", "as_tensor", "tensor"):
        if sample == "array" or (sample == "scalar" and change != "from_numpy"):
            return ("tensor" if sample == "array" else "element"), dtype
    elif isinstance(change, torch.dtype):
        plain = not (change.is_complex or dtype.is_complex) and (whole or change.is_floating_point)
        if sample in ("element", "tensor") and plain:
            return sample, change
    elif sample in ("element", "scalar") and not dtype.is_complex:
        if change == "float" or (change == "item" and not whole):
            return "number", torch.float64
        if whole:
            return "number", dtype if change == "item" and dtype is torch.bool else torch.int64
    raise UnfitError(f"{change} on {dtype} {sample}s is not gathered")
