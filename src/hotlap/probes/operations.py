"""The operations of one step."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from hotlap.inside.flops import can_count
from hotlap.inside.roots import tensors_in
from hotlap.probes.probe import LOOKED_AT_STEP, Probe, Roots
from hotlap.records.seen import Operation, Operations

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_MOST = 2000  # distinct calls; a step of more is not written down


class _Listing(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[tuple[Any, ...]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given, made = tensors_in(list(args)) + tensors_in(kwargs or {}), tensors_in([out])
        shapes = tuple(tuple(t.shape) for t in given), tuple(tuple(t.shape) for t in made)
        dtypes = tuple(str(t.dtype)[6:] for t in (*given, *made))
        moved = 0 if func.is_view else sum(t.numel() * t.element_size() for t in (*given, *made))
        self.calls[(func._overloadpacket.__name__, *shapes, dtypes, moved)] += 1
        return out


class OperationsProbe(Probe):
    """Lists one step's calls as torch dispatches them, the backward's and the update's among them."""

    id: ClassVar[str] = "operations"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """List between the ends of two steps; a compiled graph hides its operations, and is left alone."""
        listing: list[_Listing] = []

        def next_step(done: int) -> None:
            if listing:
                stop(listing.pop())
            elif done == LOOKED_AT_STEP - 1 and can_count():
                listing.append(_Listing())
                listing[0].__enter__()

        def stop(mode: _Listing) -> None:
            recorder.on_end.remove(next_step)
            modes = _get_current_dispatch_mode_stack()
            if modes and modes[-1] is mode:
                mode.__exit__(None, None, None)
                if len(mode.calls) > _MOST:
                    return
                calls = tuple(
                    Operation(name, inputs, outputs, dtypes, count, moved * count)
                    for (name, inputs, outputs, dtypes, moved), count in mode.calls.items()
                )
                self.see(host, Operations(calls))

        next_step = self.guarded(host, next_step)
        recorder.on_end.append(next_step)
