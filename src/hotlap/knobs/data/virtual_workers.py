"""Fewer loader processes for as many workers."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_CHEAP = 0.5
"""Of the time that a batch is used for: if fetching takes more, it had better run beside the training."""


class VirtualWorkers(Knob):
    """Let a process serve as several of the script's loader workers, where fetching draws random numbers.

    ## What it changes
    The number of processes behind a DataLoader with workers, to a divisor of the script's number; with 0 the training's
    own process fetches. A process keeps the random states of each worker that it serves, with the worker's seed and
    number, so that every batch draws what it draws as written. The loader's own attributes stay the user's.
    ## Why it can help
    More workers than cores take time from each other and from the training, and each takes memory and a start in every
    epoch. Where samples are cheap, handing batches over takes longer than fetching them.
    ## When it cannot
    Random generators, open files or caches in the dataset, a `worker_init_fn` that does more than seed, one worker; and
    none at all where `persistent_workers` keep their copies of the dataset from epoch to epoch.
    ## Source
    torch.utils.data documentation, "Randomness in multi-process data loading".
    """

    id: ClassVar[str] = "virtual-workers"
    area: ClassVar[str] = "data"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.IMPORT
    thrifty: ClassVar[bool] = True
    allowed: ClassVar[tuple[Value, ...] | range] = range(257)
    conflicts: ClassVar[tuple[str, ...]] = ("loader-workers", "worker-pool")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """The two largest divisors of the number of workers that leave a core to the training, and none."""
        workers = [loader for loader in facts.loaders if loader.trains and loader.num_workers]
        if not workers:
            return Skip("no DataLoader with workers feeds the training")
        for loader in workers:
            if loader.tied:
                return Skip(f"{loader.dataset.split(':')[-1]}: {loader.tied}")
        cores = min(facts.machine.cores, int(facts.machine.quota or facts.machine.cores)) // facts.ranks_here
        most = max(loader.num_workers for loader in workers)
        draws = any(loader.draws_randomness for loader in workers)  # else loader-workers may take any number
        counts = range(min(most - 1, cores), 0, -1) if draws and most >= cores else ()
        values = [count for count in counts if most % count == 0][:2]
        kept = any(loader.persistent_workers for loader in workers)
        if not kept and all((loader.fetch_s or 0.0) < _CHEAP * (loader.use_s or inf) for loader in workers):
            values.append(0)
        return tuple(values) or Skip("there are fewer workers than cores, and fetching takes a good part of the step")

    def install(self, value: Value, host: Host) -> None:
        """Give every iterator at most that many processes besides the training's, where its loader allows it."""
        if not value:
            from hotlap.loader.inline import InlineWorkers

            InlineWorkers(host, self.id).install()
            return
        from hotlap.loader.virtual import VirtualWorkers as Path

        Path(host, int(value)).install()
