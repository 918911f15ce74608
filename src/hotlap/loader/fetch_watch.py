"""Watches in the observed run whether fetching draws randomness.

A sampled fetch is made twice: what moves a global generator shows in its state, and private generators, clocks and
mutation show as a difference. The observed run is thrown away, so the second fetch can do no harm to a training.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import get_worker_info

from hotlap.inside.journal import Journal
from hotlap.loader.compare import IncomparableError, difference
from hotlap.loader.movable import is_generator, reachable

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_FIRST = 4
"""Fetches of each fetcher that are watched."""
_EVERY = 16
"""And one in so many later on."""


def dataset_name(dataset: Any) -> str:
    """Qualified class name, the same in the script and in workers that were spawned."""
    module = type(dataset).__module__
    return f"{'__main__' if module == '__mp_main__' else module}:{type(dataset).__qualname__}"


def merged(one: bool | None, other: bool | None) -> bool | None:
    """Two observations of one class: any draw is a draw, and any doubt stays one."""
    if one is True or other is True:
        return True
    return None if one is None or other is None else False


class FetchWatch:
    """What was seen of each class of dataset.

    Attributes:
        draws: By the name of the dataset's class; True or False, None when in doubt.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._counts: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._private: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._worker_journal: Journal | None = None
        self.draws: dict[str, bool | None] = {}

    def install(self) -> None:
        """Watch the fetchers of this process and of the workers that it forks."""
        self._host.refetch(self._fetch)

    def _fetch(self, fetcher: Any, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
        count = self._counts.get(fetcher, 0)
        self._counts[fetcher] = count + 1
        if count >= _FIRST and count % _EVERY:
            return stock(fetcher, indices)
        before, held = States(), held_by(fetcher.dataset)
        batch = stock(fetcher, indices)
        self._host.guarded("watching a fetch", lambda: self._judge(fetcher, indices, stock, batch, before, held))
        return batch

    def _judge(self, fetcher: Any, indices: Any, stock: Any, batch: Any, before: States, held: Any) -> None:
        after = States()
        if fetcher not in self._private:
            self._private[fetcher] = any(map(is_generator, reachable(fetcher.dataset, fetcher.collate_fn)))
        if after != before or self._private[fetcher]:
            draws: bool | None = True
        else:
            draws = _differs_again(fetcher, indices, stock, batch)
            after.restore()
            if held_by(fetcher.dataset) != held:
                draws = merged(draws, None)
        self._note(dataset_name(fetcher.dataset), draws)

    def _note(self, name: str, draws: bool | None) -> None:
        known = self.draws.get(name, draws)
        self.draws[name] = merged(known, draws)
        if get_worker_info() is None:
            return
        if self._worker_journal is None:  # the recorder has closed the one of the host in forked children
            self._worker_journal = Journal(os.environ.get("HOTLAP_JOURNAL"))
        elif self.draws[name] is known:
            return  # it was written already
        self._worker_journal.write("fetch", dataset=name, draws=self.draws[name])


def _differs_again(fetcher: Any, indices: Any, stock: Any, batch: Any) -> bool | None:
    """Whether the same indices give another batch now; None when that cannot be told."""
    if not isinstance(indices, (list, tuple, int)):
        return None  # a sampler's iterator cannot be asked again
    try:
        return bool(difference(batch, stock(fetcher, indices)))
    except (IncomparableError, RecursionError):
        return None


class States:
    """The states of the global generators."""

    def __init__(self) -> None:
        numpy = sys.modules.get("numpy")
        self.torch = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        self.python = random.getstate()
        self.numpy = numpy.random.get_state() if numpy is not None else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, States) or len(self.cuda) != len(other.cuda):
            return False
        if not all(torch.equal(a, b) for a, b in zip([self.torch, *self.cuda], [other.torch, *other.cuda])):
            return False
        return self.python == other.python and _comparable(self.numpy) == _comparable(other.numpy)

    __hash__ = None  # type: ignore[assignment]

    def restore(self) -> None:
        """Put all of them back."""
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        random.setstate(self.python)
        if self.numpy is not None:
            sys.modules["numpy"].random.set_state(self.numpy)


def _comparable(state: Any) -> Any:
    """A numpy state as something that compares."""
    return None if state is None else [part.tobytes() if hasattr(part, "tobytes") else part for part in state]


def held_by(dataset: Any) -> list[tuple[Any, ...]]:
    """Attributes of the dataset by identity, length and version: what a fetch may change and a batch does not show."""
    held: list[tuple[Any, ...]] = []
    for name, value in getattr(dataset, "__dict__", {}).items():
        size = len(value) if isinstance(value, (list, dict, set, bytearray)) else None
        held.append((name, id(value), size, value._version if isinstance(value, torch.Tensor) else None))
    return held
