"""Whole-batch fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class WholeBatchFetch(Knob):
    """Take all rows of a batch from memory in one copy per field.

    ## What it changes
    How a DataLoader fetches from a dataset whose samples are rows or windows of tensors or arrays: `TensorDataset`,
    `Subset`, `StackDataset`, or a class whose `__getitem__` does nothing but index, slice and convert. The batch is
    the same to the bit; a dataset's first ones are compared with torch's own, and one now and then after.
    ## Why it can help
    torch indexes one sample after another in Python and stacks them; the smaller the rows, the more of the time is
    spent on that and not on the copy.
    ## When it cannot
    Samples that are read from files, decoded or augmented; a `collate_fn` of the script's own. Rows of 100 KB and more
    gain little, for most of their time goes into the copy.
    ## Source
    pytorch#4959, pytorch#106704, pytorch#154318.
    """

    id: ClassVar[str] = "whole-batch-fetch"
    area: ClassVar[str] = "data"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.IMPORT
    phase: ClassVar[str] = "data"
    conflicts: ClassVar[tuple[str, ...]] = ("loader-workers", "sample-cache")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for scripts with a training loader whose dataset allows it."""
        training = [loader for loader in facts.loaders if loader.trains]
        if not training:
            return Skip("no DataLoader feeds the training")
        if any(loader.whole_batch == "" for loader in training):
            return (True,)
        reasons = dict.fromkeys(f"{loader.dataset.split(':')[-1]}: {loader.whole_batch}" for loader in training)
        return Skip("; ".join(reasons))

    def install(self, value: Value, host: Host) -> None:
        """Serve whole batches from the next fetch on, where the dataset allows it."""
        if not value:
            return
        from hotlap.loader.serve import WholeBatches

        host.refetch(WholeBatches(host, self.id).fetch)

    def switches(self, facts: Facts) -> bool:
        """Unless worker processes fetch, which were forked with or without it."""
        return not any(loader.num_workers for loader in facts.loaders)
