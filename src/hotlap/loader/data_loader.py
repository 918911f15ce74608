"""`hotlap.DataLoader`: torch's DataLoader with the fast fetch path, for those who edit their script.

Needs neither `hotlap run` nor a plan: only what is certain to serve the same batches serves here.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TypeVar

from torch.utils import data
from torch.utils.data._utils.fetch import _MapDatasetFetcher

from hotlap.loader.fetch_watch import dataset_name
from hotlap.loader.movable import why_not_ahead, why_not_movable, why_not_pooled, why_not_virtual
from hotlap.loader.sample_cache import why_never_cached
from hotlap.loader.serve import WholeBatches
from hotlap.loader.whole_batch import fetch_path

_T = TypeVar("_T", covariant=True)
_MEASURED = "nothing against it under torch's own class, but whether it pays must be measured: `hotlap tune` does"

_NO_WORKERS = "it has no workers"


class DataLoader(data.DataLoader[_T]):
    """The same arguments and the same batches, to the bit, as `torch.utils.data.DataLoader`.

    Where the dataset is rows in memory, a batch is taken with one copy per field; some batches are compared with
    torch's own for as long as it runs, and a difference ends the fast path and is said on stderr. Everything else is
    torch's. `HOTLAP_OFF=1` in the environment leaves everything to torch.
    """

    def _get_iterator(self) -> Any:
        iterator: Any = super()._get_iterator()
        if not self._why_stock():
            # Of the same class as before to whoever asks, and of this iterator alone.
            iterator._dataset_fetcher = _Fetcher(self.dataset, self._auto_collation, self.collate_fn, self.drop_last)
        return iterator

    def _why_stock(self) -> str:
        """Why torch fetches; "" where whole batches are fetched."""
        if os.environ.get("HOTLAP_OFF"):
            return "HOTLAP_OFF is set"
        if isinstance(self.dataset, data.IterableDataset):
            return "its dataset is iterable"
        if self.num_workers:
            return "worker processes fetch; rows in memory are usually served faster with num_workers=0"
        path = fetch_path(self.dataset, self.collate_fn, self._auto_collation)
        return path if isinstance(path, str) else ""

    def explain(self) -> str:
        """Which fetch path serves, and why the others do not; one line for each."""
        whole, plain = self._why_stock() or _BATCHES.why_left(self.dataset), object.__new__(data.DataLoader)
        vars(plain).update(vars(self))  # the knobs are for torch's own class
        others = {
            "sample-cache": why_never_cached(plain) or _MEASURED,
            "loader-workers": why_not_movable(plain) or _MEASURED,
            "fetch-ahead": self._why_not_ahead(),
            "virtual-workers": (why_not_virtual(plain) or _MEASURED) if self.num_workers else _NO_WORKERS,
            "worker-pool": (why_not_pooled(plain) or _MEASURED) if self.num_workers else _NO_WORKERS,
        }
        lines = [
            f"{dataset_name(self.dataset).split(':')[-1]} is served by {'torch' if whole else 'whole-batch-fetch'}.",
            *([f"whole-batch-fetch: {whole}"] if whole else []),
            *(f"{name}: {reason}" for name, reason in others.items()),
        ]
        return "\n".join(lines)

    def _why_not_ahead(self) -> str:
        if isinstance(self.dataset, data.IterableDataset):
            return "its dataset is iterable"
        if self.num_workers:
            return "worker processes fetch ahead already"
        return why_not_ahead(self.dataset, self.collate_fn, self._index_sampler) or _MEASURED


class _Fetcher(_MapDatasetFetcher):
    def fetch(self, possibly_batched_index: Any) -> Any:
        """The batch of these indices."""
        return _BATCHES.fetch(self, possibly_batched_index, _MapDatasetFetcher.fetch)


class _Stderr:
    """Where failures go without a host."""

    @staticmethod
    def failed(knob: str, reason: str) -> None:
        """Say that torch fetches from now on."""
        print(f"hotlap: {knob} is left, so torch fetches: {reason}", file=sys.stderr)

    @staticmethod
    def remark(text: str) -> None:
        """Say something else of the fetch."""
        print(f"hotlap: {text}", file=sys.stderr)


_BATCHES = WholeBatches(_Stderr(), "whole-batch-fetch")
