"""Workers that draw the same random numbers."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class SameAugmentation(Audit):
    """Workers that draw the same random numbers.

    ## What it finds
    Two workers of one loader, or the workers of two passes over it, whose random generator starts in the same state:
    a `RandomState`, `default_rng` or `random.Random` that the dataset has made in its constructor and each worker gets
    a copy of, or a `worker_init_fn` that sets the same seed everywhere.
    ## Why it costs
    Every augmentation comes once per worker, and again in each epoch: less variety than the code says.
    ## When it is right
    Data that must come out the same each time.
    ## Source
    torch seeds the global generators of Python, NumPy and torch in each worker, and no other; pytorch#5059.
    """

    id: ClassVar[str] = "same-augmentation"
    area: ClassVar[str] = "data"
    misleads: ClassVar[bool] = True

    def judge(self, seen: Seen) -> Finding:
        """By the states before and after each worker's first fetch, of the generators that it moved."""
        loaders = [loader for loader in seen.facts.loaders if loader.trains and loader.num_workers and loader.length]
        if not loaders:
            return self.not_applicable("no DataLoader with workers and a length feeds the training")
        names = {loader.dataset for loader in loaders}
        streams = [one for one in seen.streams.streams if one.dataset in names] if seen.streams else []
        if not streams:
            return self.error("no worker told of its generators")
        drawn = [(state, one) for one in streams for state in set(one.states)]
        if not drawn:
            return self.passes("no worker moves a random generator that could be seen")
        advice = "make the generator in the worker, from torch.utils.data.get_worker_info().seed"
        by_epoch = {(state, one.epoch) for state, one in drawn}
        if len(by_epoch) < len({(state, one.epoch, one.worker) for state, one in drawn}):
            return self.fails("workers draw the same random numbers as each other", advice, streams=len(drawn))
        if len({state for state, _ in drawn}) < len(drawn):
            return self.informs("workers draw the same random numbers in every epoch", advice, streams=len(drawn))
        return self.passes("every worker draws random numbers of its own", streams=len(drawn))
