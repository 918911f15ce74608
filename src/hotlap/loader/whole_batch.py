"""Fetches a whole batch of an in-memory dataset at once, to the bit what torch's fetcher and collation make of it.

Stock takes one row after another and stacks them; here each field is gathered in one copy into memory of its own, from
what the attribute holds at that moment. Whatever is not certain to come out the same raises, and the caller fetches
that batch by the stock path, which is also how the user's own exceptions come about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import StackDataset, Subset, TensorDataset
from torch.utils.data._utils import collate

from hotlap.loader.gather import Indices
from hotlap.loader.getitem import Reading, read
from hotlap.loader.rows import rows_of
from hotlap.loader.tree import INDEX, Pack, Row, Table, Tree, UnfitError


def _readers(kind: Any) -> tuple[Any, Any]:
    return kind.__getitem__, getattr(kind, "__getitems__", None)


_COLLATE = collate.default_collate
_STOCK = (collate.collate, torch.stack)
_BY_TYPE = dict(collate.default_collate_fn_map)
_ROW = Row("")
_GETITEM = {kind: _readers(kind) for kind in (TensorDataset, Subset, StackDataset)}

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
        if type(dataset) is not kind or _readers(kind) != _GETITEM[kind] or "__getitems__" in vars(dataset):
            raise UnfitError(f"{kind.__name__}.__getitem__ was changed")
        return branch(indices, column)

    return checked


def _of_tensors(dataset: Any) -> Branch:
    def branch(indices: Indices, column: type) -> Any:
        return [rows_of(tensor, _ROW, {}, indices, tuple) for tensor in dataset.tensors]

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
        changed = type(dataset).__getitem__ is not function or function.__code__ is not code
        if changed or "__getitems__" in attributes or hasattr(type(dataset), "__getitems__"):
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
            return rows_of(attributes[tree.attribute], tree, attributes, indices, column)
        except UnfitError as reason:
            raise UnfitError(f"self.{tree.attribute}: {reason}") from None
    if tree is INDEX:
        return _COLLATE(column(indices.items))
    raise UnfitError("it hands over an attribute as a whole, or a number of its own")
