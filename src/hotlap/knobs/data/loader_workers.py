"""Loader processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.keeping_up import counts, why_nothing_to_gain
from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Loader, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class LoaderWorkers(Knob):
    """Load with another number of worker processes.

    ## What it changes
    The number of processes behind every iterator, where fetching draws no randomness: batch k goes to worker k mod W,
    so another W would change every random transform. Order and content of the batches are the same.
    ## Why it can help
    Decoding and transforming run beside the training step instead of before it.
    ## When it cannot
    Random transforms, iterable datasets, cheap samples (the hand-over between processes costs more), one core.
    Tried are the number that keeps up by the operational law (time to fetch over time to use a batch) and its
    neighbours; of numbers that are as fast the smallest is taken.
    ## Source
    torch.utils.data documentation, "Multi-process data loading".
    """

    id: ClassVar[str] = "loader-workers"
    area: ClassVar[str] = "data"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.IMPORT
    phase: ClassVar[str] = "data"
    thrifty: ClassVar[bool] = True
    allowed: ClassVar[tuple[Value, ...] | range] = range(1, 257)
    conflicts: ClassVar[tuple[str, ...]] = (
        *("whole-batch-fetch", "sample-cache", "fetch-ahead", "virtual-workers", "worker-pool"),
        *("thread-pinning", "wait-policy"),
    )

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """As many as keep up with the training, one more and one less."""
        training = [loader for loader in facts.loaders if loader.trains]
        if not training:
            return Skip("no DataLoader feeds the training")
        for loader in facts.loaders:  # inside nobody can tell which loader will train: the number reaches all of them
            reason = _why_not(loader)
            if reason:
                return Skip(reason)
        used = {loader.num_workers for loader in training}
        if reason := why_nothing_to_gain(training):
            return Skip(reason)
        cores = min(facts.machine.cores, int(facts.machine.quota or facts.machine.cores)) // facts.ranks_here
        values = [count for count in dict.fromkeys(counts(training, cores)) if 0 < count <= cores and used != {count}]
        return tuple(values) or Skip("there is no core to spare for a worker process")

    def install(self, value: Value, host: Host) -> None:
        """Give every iterator that many workers, where its loader allows it."""
        from hotlap.loader.movable import why_not_movable
        from hotlap.loader.moved import MovedFetch

        count = int(value)

        def choose(loader: Any) -> dict[str, Any]:
            stays = loader.num_workers in (0, count) or why_not_movable(loader)
            return {} if stays else {"num_workers": count}

        host.loaders.override_each(choose)
        MovedFetch(host, self.id, count).install()


def _why_not(loader: Loader) -> str:
    name = loader.dataset.split(":")[-1]
    if loader.draws_randomness:
        return f"fetching from {name} draws randomness, so the number of workers is part of the training"
    if loader.draws_randomness is None:
        return f"it was not shown that {name} can be fetched in another process with the same result"
    return ""
