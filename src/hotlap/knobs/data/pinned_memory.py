"""Page-locked batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class PinnedMemory(Knob):
    """Ask every DataLoader to hand over its batches in page-locked memory.

    ## What it changes
    What `pin_memory=True` would ask for, on every iterator; the loader's own attributes stay the user's. The bytes in a
    batch are the same.
    ## Why it can help
    The copy to the device skips the driver's staging buffer, and may overlap if it is non-blocking.
    ## When it cannot
    No CUDA device, batches already on the device, or little free host memory.
    ## Source
    torch.utils.data documentation, "Memory pinning".
    """

    id: ClassVar[str] = "pinned-memory"
    area: ClassVar[str] = "data"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.IMPORT

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for scripts that train on a CUDA device from a loader that does not pin yet."""
        if not facts.is_cuda:
            return Skip("there is no CUDA device to copy to")
        training = [loader for loader in facts.loaders if loader.trains]
        if not training:
            return Skip("no DataLoader feeds the training")
        if all(loader.pin_memory for loader in training):
            return Skip("every DataLoader already pins its batches")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Let every iterator pin from the next one on."""
        host.override_loaders(pin_memory=bool(value))
