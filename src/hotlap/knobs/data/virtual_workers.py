"""Fewer loader processes for as many workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class VirtualWorkers(Knob):
    """Let a process serve as several of the script's loader workers, where fetching draws random numbers.

    ## What it changes
    The number of processes behind a DataLoader with workers, to a divisor of the script's number. A process keeps the
    random states of each worker that it serves, with the worker's seed and number, so that every batch draws what it
    draws as written. As many batches are fetched ahead, and the loader's own attributes stay the user's.
    ## Why it can help
    More workers than cores take time from each other and from the training, and each takes memory and a start.
    ## When it cannot
    Random generators, open files or caches in the dataset, a `worker_init_fn` that does more than seed, one worker.
    ## Source
    torch.utils.data documentation, "Randomness in multi-process data loading".
    """

    id: ClassVar[str] = "virtual-workers"
    area: ClassVar[str] = "data"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.IMPORT
    thrifty: ClassVar[bool] = True
    allowed: ClassVar[tuple[Value, ...] | range] = range(1, 257)
    conflicts: ClassVar[tuple[str, ...]] = ("loader-workers",)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """The two largest divisors of the number of workers that leave a core to the training."""
        workers = [loader for loader in facts.loaders if loader.trains and loader.num_workers > 1]
        if not workers:
            return Skip("no DataLoader with several workers feeds the training")
        if not any(loader.draws_randomness for loader in workers):
            return Skip("fetching was not seen to draw randomness, so that the number of workers itself may change")
        for loader in workers:
            if loader.tied:
                return Skip(f"{loader.dataset.split(':')[-1]}: {loader.tied}")
        cores = min(facts.machine.cores, int(facts.machine.quota or facts.machine.cores)) // max(1, facts.world_size)
        most = max(loader.num_workers for loader in workers)
        if most < cores:
            return Skip("there are fewer workers than cores")
        return tuple([count for count in range(min(most - 1, cores), 0, -1) if most % count == 0][:2])

    def install(self, value: Value, host: Host) -> None:
        """Give every iterator at most that many processes, where its loader allows it."""
        from hotlap.loader.virtual import VirtualWorkers as Path

        Path(host, int(value)).install()
