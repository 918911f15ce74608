"""Serves whole batches where that is certain, and keeps comparing them with stock on the running data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from torch.utils.data import get_worker_info

from hotlap.loader.compare import IncomparableError, difference
from hotlap.loader.getitem import UnfitError
from hotlap.loader.whole_batch import Fetch, fetch_path

_FIRST = 2
"""Batches of each fetcher that are also fetched by the stock path."""
_EVERY = 256
"""And one in so many later on."""
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


class _Path:
    def __init__(self, fetch: Fetch | None) -> None:
        self.fetch = fetch
        self.served = 0
        self.missed = 0


class WholeBatches:
    """The fetch path of one process."""

    def __init__(self, host: Says, knob: str) -> None:
        self._host = host
        self._knob = knob
        self._paths: WeakKeyDictionary[Any, _Path] = WeakKeyDictionary()
        self._off = False
        self._left: dict[str, str] = {}

    def fetch(self, fetcher: Any, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
        """The batch of these indices."""
        if self._off:
            return stock(fetcher, indices)
        path = self._paths.get(fetcher)
        if path is None:
            path = self._paths[fetcher] = _open(fetcher)
        if path.fetch is None:
            return stock(fetcher, indices)
        batch, reason = _fetched(path.fetch, indices)
        if reason:
            batch = stock(fetcher, indices)  # it serves the batch, or raises what the user's code raises
            path.missed += 1
            if path.missed >= _PATIENCE:
                path.fetch = None
                self._tell(type(fetcher.dataset).__qualname__, reason)
            return batch
        path.missed = 0
        path.served += 1
        if path.served <= _FIRST or path.served % _EVERY == 0:
            return self._compared(batch, stock(fetcher, indices))
        return batch

    def why_left(self, dataset: Any) -> str:
        """Why torch has gone on to fetch the batches of such a dataset; "" while it has not."""
        if self._off:
            return "a whole batch came out other than row by row"
        return self._left.get(type(dataset).__qualname__, "")

    def _tell(self, dataset: str, reason: str) -> None:
        if dataset not in self._left and get_worker_info() is None:
            self._left[dataset] = reason
            self._host.remark(f"{self._knob}: torch fetches the batches of {dataset} itself, because {reason}")

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


def _open(fetcher: Any) -> _Path:
    path = fetch_path(fetcher.dataset, fetcher.collate_fn, fetcher.auto_collation)
    return _Path(None if isinstance(path, str) else path)
