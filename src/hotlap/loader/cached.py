"""One dataset whose samples are kept as they are fetched, and served from what is kept."""

from __future__ import annotations

from time import perf_counter
from typing import Any
from weakref import ref

import torch

from hotlap.loader.cut import NAME, Watched, chain, why_not_cut
from hotlap.loader.digest import digest
from hotlap.loader.movable import asks_unseeded, is_generator, reachable
from hotlap.loader.reads import unchanged, watched
from hotlap.loader.samples import Freezer, Node
from hotlap.loader.states import States
from hotlap.loader.store import Store
from hotlap.loader.tree import UnfitError

_PATIENCE = 8
"""Samples in a row that may not fit before a dataset is left alone."""
_TIMED = 4
"""Samples by which it is judged whether keeping them pays, after a first one that warms up."""
_WORTH = 2.0
"""So many times longer must making a sample, or what is kept of it, take than copying it out."""
_ABSENT = object()


class Cached:
    """What is kept of one dataset.

    Args:
        dataset: Map-style, with a length.
        alone: See `Freezer`.
        capacity: Bytes for samples; None for a share of the free memory.

    Attributes:
        closed: Why nothing of it is served any more in this process; "" while it is.
        misfit: Why the last sample that could not be kept was not; "" if all could.
        hits: Samples served so far.
        served: Batches with such samples so far.

    Raises:
        UnfitError: Its samples cannot be kept.
    """

    def __init__(self, dataset: Any, alone: bool, capacity: int | None = None) -> None:
        kind = type(dataset)
        if not hasattr(dataset, "__dict__") or not callable(getattr(kind, "__getitem__", None)):
            raise UnfitError(f"{kind.__qualname__} keeps its attributes in slots")
        if hasattr(dataset, "__getitems__"):
            raise UnfitError(f"{kind.__qualname__} fetches whole batches by a __getitems__ of its own")
        if any(map(is_generator, reachable(dataset))):
            raise UnfitError("it holds a random generator of its own")
        if unseeded := asks_unseeded(dataset):
            raise UnfitError(f"its code asks for {unseeded}, which no seed decides")
        try:
            length = len(dataset)
        except (TypeError, NotImplementedError):
            raise UnfitError("it has no length") from None
        self._dataset = ref(dataset)
        self._alone = alone
        self._cuts = not why_not_cut(dataset)
        self._expected: int | None = None
        self._digest = digest(dataset)
        self._shallow = self._look(dataset)
        self._misfits = 0
        self._times: list[tuple[float, float]] = []
        self.closed = ""
        self.told = False
        self.misfit = ""
        self.hits = 0
        self.served = 0
        self.store = Store(length, capacity)

    @property
    def dataset(self) -> Any:
        """The dataset; None once the script has let go of it."""
        return self._dataset()

    def fits(self, dataset: Any, *, closely: bool) -> bool:
        """Whether the dataset still holds what it did when the samples were kept.

        Args:
            dataset: The one whose samples these are.
            closely: Look at all that it holds, and not just at which objects its attributes are.
        """
        shallow = self._look(dataset)
        if not closely and shallow == self._shallow:
            return True
        try:
            if digest(dataset) != self._digest:
                return False
        except UnfitError:
            return False
        self._shallow = shallow
        return True

    def _look(self, dataset: Any) -> Any:
        parts = chain(vars(dataset)[NAME]) if self._cuts and NAME in vars(dataset) else ()
        return _held_by(dataset), [id(part) for part in parts], type(dataset).__getitem__

    # -- samples

    def get(self, dataset: Any, index: Any) -> Any:
        """The sample of an index, as `dataset[index]` gives it."""
        if type(index) is not int or not 0 <= index < self.store.length or self.closed:
            return dataset[index]
        at = self.store.find(index)
        sample = self._served(dataset, at) if at else _ABSENT
        if sample is _ABSENT:
            return self._filled(dataset, index)
        self.hits += 1
        return sample

    def whole(self, index: Any) -> tuple[Node, int]:
        """The form of a sample, and where its memory begins.

        Raises:
            UnfitError: It is not kept, has a random part, or a file of it has changed.
        """
        at = self.store.find(index) if type(index) is int and 0 <= index < self.store.length and not self.closed else 0
        if at:
            (files, cut, _, nest), start = self.store.memory.head(at)
            if cut is None and unchanged(files):
                return nest, start
        raise UnfitError("it is not kept as a whole")

    def _served(self, dataset: Any, at: int) -> Any:
        """The sample that lies there; `_ABSENT` when a file of it has changed."""
        memory = self.store.memory
        (files, cut, prefix, nest), start = memory.head(at)
        if not unchanged(files):
            return _ABSENT
        if cut is None:
            return memory.thawed(nest, start)
        value = memory.thawed(prefix, start)
        for part in chain(vars(dataset)[NAME])[cut:]:
            value = part(value)
        return memory.thawed(nest, start, value)

    def _filled(self, dataset: Any, index: int) -> Any:
        """Fetch a sample, and keep it if that was seen to be right."""
        begun, began_s = States(), perf_counter()
        watch = Watched(vars(dataset)[NAME], begun, self._expected) if self._cuts else None
        source = dataset if watch is None else twin(dataset, **{NAME: watch})
        held = _held_by(source)
        with watched() as reads:
            sample = source[index]
        made_s, after = perf_counter() - began_s, States()
        if _held_by(source) != held:
            self.closed = "fetching changes the dataset"
            if watch is not None:  # the change was made to a copy: once more, as stock does it
                begun.restore()
                return dataset[index]
            return sample
        try:
            if after == begun:
                self._keep(index, made_s, reads.files(), None, None, Freezer(self._alone), sample, None)
                self._expected = None if watch is None else len(watch.parts)
            elif watch is None:
                self.closed = "fetching draws randomness"
            else:
                freezer, prefix = watch.frozen(after)
                made_s = watch.reached_s - began_s
                self._keep(index, made_s, reads.files(), watch.cut, prefix, freezer, sample, watch.result)
                self._expected = watch.cut
            self._misfits = 0
        except UnfitError as reason:
            self.misfit, self._misfits, self._expected = str(reason), self._misfits + 1, None
            if self._misfits >= _PATIENCE:
                self.closed = self.misfit
        except Exception as error:  # the sample itself is the script's, and right
            self.closed = f"{type(error).__name__}: {error}"
        return sample

    def _keep(
        self,
        index: int,
        made_s: float,
        files: Any,
        cut: int | None,
        prefix: Any,
        freezer: Freezer,
        sample: Any,
        hole: Any,
    ) -> None:
        nest = freezer.node(sample, hole)
        if hole is not None and str(nest).count("('hole',)") != 1:
            raise UnfitError("the result of its transform is not one item of the sample")
        at = self.store.put(index, freezer.parts(files, cut, prefix, nest))
        if at and len(self._times) <= _TIMED:
            self._time(at, made_s)

    def _time(self, at: int, made_s: float) -> None:
        """Judge by the first samples whether copying them out takes less than making them."""
        self._copying_s(at)  # maps what was written, which later epochs of a process find so
        self._times.append((made_s, self._copying_s(at)))
        if len(self._times) > _TIMED:
            made, copied = map(min, zip(*self._times[1:]))  # the least disturbed of each
            if made < _WORTH * copied:
                took = f"what is kept of a sample takes {made * 1e6:.0f} microseconds to make"
                self.closed = f"{took}, and {copied * 1e6:.0f} to copy"

    def _copying_s(self, at: int) -> float:
        memory, began_s = self.store.memory, perf_counter()
        (files, _, prefix, nest), start = memory.head(at)
        unchanged(files)
        for node in (prefix, nest):
            if node is not None:
                memory.thawed(node, start)
        return perf_counter() - began_s


def twin(dataset: Any, **attributes: Any) -> Any:
    """The same dataset in another object, with other attributes; no method of its class has run."""
    made = object.__new__(type(dataset))
    vars(made).update(vars(dataset), **attributes)
    return made


def _held_by(dataset: Any) -> list[tuple[Any, ...]]:
    """Attributes of the dataset by identity, length and version: what a fetch may change and a batch does not show."""
    held: list[tuple[Any, ...]] = []
    for name, value in getattr(dataset, "__dict__", {}).items():
        size = len(value) if isinstance(value, (list, dict, set, bytearray)) else None
        held.append((name, id(value), size, value._version if isinstance(value, torch.Tensor) else None))
    return held
