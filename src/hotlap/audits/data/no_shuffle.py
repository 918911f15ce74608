"""A training loader that serves the same order in every epoch."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class NoShuffle(Audit):
    """A training loader that serves the same order in every epoch.

    ## What it finds
    A map-style dataset behind a training DataLoader without `shuffle=True` or a sampler that draws.
    ## Why it costs
    It costs no time, but learning: neighbours stay neighbours, often all of one class.
    ## When it is right
    Text that is read on from batch to batch, time series, a dataset that was shuffled before.
    ## Source
    The usual first question when a loss saws.
    """

    id: ClassVar[str] = "no-shuffle"
    area: ClassVar[str] = "data"
    misleads: ClassVar[bool] = True

    def judge(self, seen: Seen) -> Finding:
        """By the loader's sampler."""
        loaders = [loader for loader in seen.facts.loaders if loader.trains and loader.length]
        if not loaders:
            return self.not_applicable("no DataLoader with a known length feeds the training")
        loaders = [loader for loader in loaders if not loader.shuffles and (loader.batches or 0) > 1]
        if not loaders:
            return self.passes("the training data is shuffled")
        if all(loader.shuffles is None for loader in loaders):
            return self.not_applicable("the order is that of a sampler of the script's own")
        return self.informs(
            "the training data comes in the same order in every epoch",
            "pass shuffle=True to the training DataLoader, unless the order is meant",
        )
