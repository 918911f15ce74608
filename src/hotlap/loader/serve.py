"""Serves whole batches where that is certain, and keeps comparing them with stock on the running data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import get_worker_info
from torch.utils.weak import WeakIdKeyDictionary

from hotlap.loader.compare import IncomparableError, difference
from hotlap.loader.tree import UnfitError
from hotlap.loader.whole_batch import Fetch, fetch_path

_FIRST = 2
"""Batches of each dataset that are also fetched by the stock path."""
_EVERY = 256
"""And one in so many later on."""
_EVERY_EPOCH = 64
"""And the first of an epoch, after so many; epochs may be short."""
_PATIENCE = 4
"""Batches in a row that may need the stock path before a fetcher is left to it."""


class Says(Protocol):
    """Whoever tells the user, as `Host` does."""

    def failed(self, knob: str, reason: str) -> None:
        """A knob found out that it could not take hold."""
        ...

    def remark(self, text: str) -> None:
        """Something the user should know, once."""
        ...


class _Tally:
    """The batches of one dataset, in all epochs."""

    def __init__(self) -> None:
        self._form: Any = None
        self._served = 0
        self._compared = 0  # how many had been served when one was last compared

    def due(self, first: Any) -> bool:
        """Whether the next batch is to be compared.

        Args:
            first: For the first of an epoch, the code that samples are read with and what the batch is made of; if it
                is not what it was, all begins anew. None for others.
        """
        if first is not None and first != self._form:
            self._form, self._served, self._compared = first, 0, 0
        self._served += 1
        since = self._served - self._compared
        if self._served > _FIRST and since < (_EVERY if first is None else _EVERY_EPOCH):
            return False
        self._compared = self._served
        return True


@dataclass
class _Path:
    """Of one fetcher, which lives for an epoch."""

    fetch: Fetch | None
    tally: _Tally
    served: int = 0
    missed: int = 0


class WholeBatches:
    """The fetch path of one process."""

    def __init__(self, host: Says, knob: str) -> None:
        self._host = host
        self._knob = knob
        self._paths: WeakKeyDictionary[Any, _Path] = WeakKeyDictionary()
        self._tallies: Any = WeakIdKeyDictionary()  # by dataset, which may be equal to another
        self._off = False
        self._left: Any = WeakIdKeyDictionary()  # why, by dataset
        self._told: set[str] = set()

    def fetch(self, fetcher: Any, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
        """The batch of these indices."""
        if self._off:
            return stock(fetcher, indices)
        path = self._paths.get(fetcher)
        if path is None:
            path = self._paths[fetcher] = self._open(fetcher)
        if path.fetch is None:
            return stock(fetcher, indices)
        batch, reason = _fetched(path.fetch, indices)
        if reason:
            batch = stock(fetcher, indices)  # it serves the batch, or raises what the user's code raises
            path.missed += 1
            if path.missed >= _PATIENCE:
                path.fetch = None
                self._tell(fetcher.dataset, reason)
            return batch
        path.missed = 0
        path.served += 1
        first = (_code(fetcher.dataset), _form(batch)) if path.served == 1 else None
        return self._compared(batch, stock(fetcher, indices)) if path.tally.due(first) else batch

    def why_left(self, dataset: Any) -> str:
        """Why torch has gone on to fetch the batches of such a dataset; "" while it has not."""
        if self._off:
            return "a whole batch came out other than row by row"
        return self._left.get(dataset, "") if _is_weak(dataset) else ""

    def _open(self, fetcher: Any) -> _Path:
        fetch = fetch_path(fetcher.dataset, fetcher.collate_fn, fetcher.auto_collation)
        if isinstance(fetch, str):
            return _Path(None, _Tally())
        if get_worker_info() is not None or not _is_weak(fetcher.dataset):  # workers collate in another way
            return _Path(fetch, _Tally())
        self._left.pop(fetcher.dataset, None)
        return _Path(fetch, self._tallies.setdefault(fetcher.dataset, _Tally()))

    def _tell(self, dataset: Any, reason: str) -> None:
        if _is_weak(dataset):
            self._left[dataset] = reason
        name = type(dataset).__qualname__
        if name not in self._told and get_worker_info() is None:
            self._told.add(name)
            self._host.remark(f"{self._knob}: torch fetches the batches of {name} itself, because {reason}")

    def _compared(self, batch: Any, expected: Any) -> Any:
        try:
            found = difference(expected, batch)
        except IncomparableError as reason:
            found = str(reason)
        if not found:
            return batch
        self._off = True
        self._host.failed(self._knob, f"a whole batch came out other than row by row: {found}")
        return expected


def _fetched(fetch: Fetch, indices: Any) -> tuple[Any, str]:
    """The batch, and why there is none; over before stock is asked, whose error would name ours as its context."""
    try:
        return fetch(indices), ""
    except Exception as error:
        return None, str(error) if isinstance(error, UnfitError) else f"{type(error).__name__}: {error}"


def _is_weak(dataset: Any) -> bool:
    """Whether it can be referred to without being kept."""
    return getattr(type(dataset), "__weakrefoffset__", 0) != 0


def _code(dataset: Any) -> Any:
    return getattr(getattr(type(dataset), "__getitem__", None), "__code__", None)


def _form(batch: Any) -> Any:
    """What a batch is made of, without its numbers."""
    if isinstance(batch, torch.Tensor):
        return batch.dtype, batch.shape[1:]
    if isinstance(batch, dict):
        return [(key, _form(value)) for key, value in batch.items()]
    return [_form(value) for value in batch] if isinstance(batch, (list, tuple)) else type(batch)
