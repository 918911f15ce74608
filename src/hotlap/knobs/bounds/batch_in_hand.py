"""The batch is in hand already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotlap.inside.host import Host


class BatchInHand(Knob):
    """Serve a copy of a batch that was fetched before.

    ## What it changes
    What the script trains on, so only its times count: they show what loading costs, whatever would take its place.
    With `device` the copy lies on the accelerator already, so that the script's own copy to it is none.
    ## Why it can help
    It cannot; it bounds what the knobs of the data area can.
    ## When it cannot
    Where worker processes fetch, only the waiting for them can be saved, and that is a phase of the step.
    ## Source
    The usual test of whether a training is bound by its data.
    """

    id: ClassVar[str] = "batch-in-hand"
    area: ClassVar[str] = "data"
    contract: ClassVar[Contract] = Contract.RECIPE
    when: ClassVar[When] = When.ANY
    allowed: ClassVar[tuple[Value, ...] | range] = (True, "device")
    suggested_only: ClassVar[bool] = True

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Where the training process itself fetches."""
        loaders = [loader for loader in facts.loaders if loader.trains]
        if not loaders or any(loader.num_workers for loader in loaders):
            return Skip("the training process fetches no batches")
        pinned = any(loader.pin_memory for loader in loaders)  # only what is on the host can be pinned
        return ("device",) if facts.is_cuda and not pinned else (True,)

    def switches(self, facts: Facts) -> bool:
        """The sampler goes on as ever."""
        return True

    def install(self, value: Value, host: Host) -> None:
        """Keep one batch of each size for every loader; the script may change what it is given, so it gets a copy."""
        import torch
        from torch.utils import _pytree

        device = torch.accelerator.current_accelerator() if value == "device" else None
        kept: WeakKeyDictionary[Any, dict[int, Any]] = WeakKeyDictionary()

        def fetch(fetcher: Any, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
            batches = kept.setdefault(fetcher, {})
            size = len(indices) if fetcher.auto_collation else 1
            if size not in batches:
                batches[size] = _pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), stock(fetcher, indices))
            return _pytree.tree_map_only(torch.Tensor, torch.Tensor.clone, batches[size])

        host.refetch(fetch)
