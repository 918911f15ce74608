"""The operations of one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from hotlap.inside.flops import can_count
from hotlap.inside.listing import Listing
from hotlap.probes.probe import LOOKED_AT_STEP, Probe, Roots
from hotlap.records.seen import Operations

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_LISTED_STEP = (
    LOOKED_AT_STEP + 1
)  # other probes compute in the one that they look at, and that is no work of the script
_MOST = 2000  # distinct calls; a step of more is not written down


class OperationsProbe(Probe):
    """Lists one step's calls as torch dispatches them, the backward's and the update's among them."""

    id: ClassVar[str] = "operations"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """List between the ends of two steps; a compiled graph hides its operations, and is left alone."""
        listing: list[Listing] = []

        def next_step(done: int) -> None:
            if listing:
                stop(listing.pop())
            elif done == _LISTED_STEP - 1 and can_count():
                listing.append(Listing())
                listing[0].__enter__()

        def stop(mode: Listing) -> None:
            recorder.on_end.remove(next_step)
            modes = _get_current_dispatch_mode_stack()
            if modes and modes[-1] is mode:
                mode.__exit__(None, None, None)
                if len(mode.calls) <= _MOST:
                    self.see(host, Operations(mode.operations()))

        def served(iterator: Any, batch: Any) -> Any:
            for mode in listing:
                mode.served()
            return batch

        next_step = self.guarded(host, next_step)
        recorder.on_end.append(next_step)
        host.loaders.serve(served)
