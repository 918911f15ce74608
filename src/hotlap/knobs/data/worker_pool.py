"""Loader workers that outlive their epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Loader, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_SMALL_SHARE = 0.005
"""Of an epoch: a start of workers that takes less is not worth a trial."""


class WorkerPool(Knob):
    """Keep loader workers for the next epoch, seeded anew as if they were new.

    ## What it changes
    Worker processes are not ended and started for every epoch. When one begins, both the script's process and each
    worker look whether anything by which samples are made has changed since the workers were started. If not, they get
    the epoch's seed, as new ones do: unlike with `persistent_workers`, every draw is what it is as written. Before they
    serve, and in one epoch of 16, new workers serve and the kept ones fetch the first batches too, to be compared.
    ## Why it can help
    Starting workers takes 10 ms and more for each where they are forked, in proportion to the memory of the training,
    and most of a second where they are started afresh. Short epochs pay it often, and an evaluation does too.
    ## When it cannot
    Long epochs; fewer than three of them; a dataset that the script or the fetching changes, that holds open files or
    generators, or so much that looking for changes takes longer than a start. Between epochs the workers keep their
    memory, and a script that waits for all its children waits for them.
    ## Source
    torch.utils.data documentation, "Multi-process data loading"; pytorch#15849, pytorch#12831.
    """

    id: ClassVar[str] = "worker-pool"
    area: ClassVar[str] = "data"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.IMPORT
    thrifty: ClassVar[bool] = True
    conflicts: ClassVar[tuple[str, ...]] = ("loader-workers", "virtual-workers", "sample-cache")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Where starting workers takes a part of an epoch that shows."""
        workers = [loader for loader in facts.loaders if loader.trains and loader.num_workers]
        if not workers:
            return Skip("no DataLoader with workers feeds the training")
        for loader in workers:
            if loader.pool:
                return Skip(f"{loader.dataset.split(':')[-1]}: {loader.pool}")
        shares = [_share(loader) for loader in workers]
        if all(share is not None and share < _SMALL_SHARE for share in shares):
            return Skip(f"starting workers takes less than {_SMALL_SHARE:.1%} of an epoch")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Keep the workers of every loader that allows it."""
        from hotlap.loader.worker_pool import WorkerPool as Path

        Path(host, self.id).install()


def _share(loader: Loader) -> float | None:
    """Of an epoch that starting the workers takes; None where that was not seen."""
    if loader.start_s is None or not loader.batches or loader.use_s is None or loader.wait_s is None:
        return None
    return loader.start_s / (loader.start_s + loader.batches * (loader.use_s + loader.wait_s))
