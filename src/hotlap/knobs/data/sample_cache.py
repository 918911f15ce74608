"""Samples that are kept from the first epoch on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class SampleCache(Knob):
    """Keep in memory what is the same of a sample in every epoch, and make only the rest anew.

    ## What it changes
    A sample whose fetching draws nothing is kept whole. Of a dataset that has a `transform` and hands its result on,
    what the first random part of it is given is kept, such as the decoded image. The first epoch fills half of the free
    memory and nothing is evicted; worker processes share it. A file that changed is read anew, and a dataset that the
    script changes is left alone. Batches are compared with torch's own for the whole run.
    ## Why it can help
    Reading, decoding and computing a sample is done once, not in every epoch. A trial fills the cache before its first
    step: the gain is that of the second epoch on, the filling counts as start-up, and the report says after how many
    steps it is paid back.
    ## When it cannot
    One epoch, more data than memory, random transforms that come first, a generator of the dataset's own, files that
    are read by C code, samples that cost no more to make than to copy, workers that are not forked.
    ## Source
    CoorDL's MinIO cache (arXiv 2007.06775); tf.data's `cache`.
    """

    id: ClassVar[str] = "sample-cache"
    area: ClassVar[str] = "data"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.IMPORT
    phase: ClassVar[str] = "data"
    conflicts: ClassVar[tuple[str, ...]] = ("whole-batch-fetch", "fetch-ahead", "loader-workers", "worker-pool")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On where the samples of a training loader could be kept in the observed run."""
        training = [loader for loader in facts.loaders if loader.trains]
        if not training:
            return Skip("no DataLoader feeds the training")
        if any(loader.sample_cache == "" for loader in training):
            return (True,)
        reasons = dict.fromkeys(f"{loader.dataset.split(':')[-1]}: {loader.sample_cache}" for loader in training)
        return Skip("; ".join(reasons))

    def install(self, value: Value, host: Host) -> None:
        """Keep samples from the next iterator on."""
        if not value:
            return
        from hotlap.loader.sample_cache import SampleCaches

        SampleCaches(host, self.id).install()
