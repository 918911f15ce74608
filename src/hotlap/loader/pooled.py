"""Iterators over a loader whose workers live on when an epoch is over, each to its script as torch's own."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import _utils
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from hotlap.loader.compare import difference
from hotlap.loader.renewal import Answer, Begin, Condition, Renewal, Rest

if TYPE_CHECKING:
    from hotlap.loader.worker_pool import Kept

_LIMIT_S, _LOOK_S = 60.0, 2.0
"""A worker that takes longer to say how it is is not waited for; so often it is looked whether it lives."""
_OF_ITS_EPOCH = (
    "_kept",
    "_seed",
    "_is_shadow",
    "_asked",
    "_shadow",
    "_sampler_iter",
    "_index_sampler",
    "_prefetch_factor",
)


class Crew(_MultiProcessingDataLoaderIter):
    """The workers of a loader between two epochs.

    Args:
        served: The iterator whose epoch is over.
    """

    condition: Condition
    built: tuple[Any, ...]
    _owner: int

    def __init__(self, served: PooledIter) -> None:
        vars(self).update({name: value for name, value in vars(served).items() if name not in _OF_ITS_EPOCH})
        self._worker_pids_set = False
        for queue in self._index_queues:
            queue.put(Rest())

    def fit(self) -> bool:
        """Whether each of them is still as it was before its first batch."""
        return self._all_fit(None)

    def renewed(self, base_seed: int) -> bool:
        """Make each of them as new with this seed; whether that was possible."""
        for queue in self._index_queues:
            queue.put(Renewal(base_seed))
        return self._all_fit(base_seed)

    def hand_over(self) -> dict[str, Any]:
        """What an iterator with these workers holds; they are no longer this one's."""
        held = dict(vars(self))
        self._shutdown = True
        return held

    def close(self) -> None:
        """End them; in a copy of the process that has them, nothing happens."""
        if os.getpid() == self._owner:
            self._shutdown_workers()

    __del__ = close

    def _all_fit(self, seed: int | None) -> bool:
        try:
            return all(self._answer() == Answer(seed, fit=True) for _ in self._workers)
        except Exception:  # one of them is gone
            return False

    def _answer(self) -> Answer:
        for _ in range(round(_LIMIT_S / _LOOK_S)):
            there, got = self._try_get_data(_LOOK_S)
            if there and got:
                return got[0]
        return Answer()


class PooledIter(_MultiProcessingDataLoaderIter):
    """One epoch.

    Args:
        loader: Whose it is.
        kept: Where its workers go when it is over.
        condition: Of what samples are made by, when the workers were started.
        crew: Workers that are to serve; None for new ones.
        seed: Of the epoch, where these workers fetch beside others; None draws one as torch does.
    """

    def __init__(
        self,
        loader: Any,
        kept: Kept,
        condition: Condition,
        crew: Crew | None = None,
        seed: int | None = None,
    ) -> None:
        self._kept = kept
        self.condition = condition
        self.built = built(loader)
        self._owner = os.getpid()
        self._seed = seed
        self._is_shadow = seed is not None
        self._asked: list[Any] = []
        self._shadow: PooledIter | None = None
        if crew is not None:
            _BaseDataLoaderIter.__init__(self, loader)
            if condition.holds() and crew.renewed(self._base_seed):  # the sampler may have changed the dataset
                self._take_over(crew)
                self._prefetch_factor = loader.prefetch_factor
                self._reset(loader, first_iter=True)
                return
            crew.close()
        super().__init__(self._beginning(loader))

    @property
    def _base_seed(self) -> int:
        assert self._seed is not None
        return self._seed

    @_base_seed.setter
    def _base_seed(self, drawn: int) -> None:
        self._seed = drawn if self._seed is None else self._seed

    def shadowed(self, loader: Any, crew: Crew) -> None:
        """Let kept workers fetch the first batches as well, and be kept if they come out the same."""
        twin = copy.copy(loader)
        order = "batch_sampler" if self._auto_collation else "sampler"
        vars(twin).update({order: list(self._asked), "generator": torch.Generator()})
        self._shadow = PooledIter(twin, self._kept, crew.condition, crew, self._seed)

    def _beginning(self, loader: Any) -> Any:
        twin = copy.copy(loader)
        twin.worker_init_fn = Begin(loader.worker_init_fn, loader.collate_fn)
        if self._seed is not None:  # the script's generator has given its draw
            twin.generator = torch.Generator()
        return twin

    def _take_over(self, crew: Crew) -> None:
        for name, value in crew.hand_over().items():
            vars(self).setdefault(name, value)
        if not self._is_shadow:  # torch would raise in the middle of the training when one of them dies
            torch._C._set_worker_pids(id(self), tuple(worker.pid for worker in self._workers))
            self._worker_pids_set = True

    def _next_index(self) -> Any:
        index = super()._next_index()
        if len(self._asked) < self._num_workers:
            self._asked.append(index)
        return index

    def _next_data(self) -> Any:
        shadow, self._shadow = self._shadow, None
        batch = super()._next_data()
        if shadow is not None:
            self._prove(shadow, batch)
        return batch

    def _prove(self, shadow: PooledIter, batch: Any) -> None:
        try:
            found = shadow.differs_from(batch)
            if found:
                self._kept.failed(found)
        except Exception as reason:  # it cannot be told
            found = str(reason) or type(reason).__name__
            self._kept.leave(found)
        if found or shadow.is_over():
            self._kept.proven = not found
            shadow._shutdown_workers()
        else:
            self._shadow = shadow

    def differs_from(self, batch: Any) -> str:
        """How the next batch differs from this one; "" if it does not.

        Raises:
            IncomparableError: That cannot be told.
        """
        try:
            own = super()._next_data()
        except Exception as error:
            return f"it raised {type(error).__name__}"
        return difference(batch, own)

    def is_over(self) -> bool:
        """Whether all that was asked for was handed over, and every worker waits."""
        begun = "_send_idx" in vars(self)  # a worker may have failed to start
        return begun and self._rcvd_idx == self._send_idx and all(self._workers_status)

    def _shutdown_workers(self) -> None:
        """An epoch is over, or broken off."""
        leaves = _utils is None or _utils.python_exit_status is not False or self._shutdown
        if not leaves and os.getpid() != self._owner:  # to end them in a copy of the process would end them here too
            self._shutdown = True
            return
        if leaves or not self.is_over() or not self._kept.keeps():
            super()._shutdown_workers()
            return
        if self._worker_pids_set:  # who is killed from now on is noticed when the next epoch begins
            torch._C._remove_worker_pids(id(self))
            self._worker_pids_set = False
        self._kept.crew = Crew(self)
        self._shutdown = True


def built(loader: Any) -> tuple[Any, ...]:
    """What workers are started by, besides what they fetch from."""
    method = torch.multiprocessing.get_start_method(allow_none=True)
    context = getattr(loader.multiprocessing_context, "_name", method)
    asked = loader.num_workers, context, loader.pin_memory, loader._auto_collation
    return *asked, id(loader.dataset), id(loader.collate_fn), id(loader.worker_init_fn)


PooledIter.__name__ = _MultiProcessingDataLoaderIter.__name__  # profilers and errors call it by name
