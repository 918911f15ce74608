"""What the loss is made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from hotlap.probes.probe import LOOKED_AT_STEP, Probe, Roots
from hotlap.records.seen import LossGraph

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_SHAPES = {
    *("View", "UnsafeView", "Reshape", "ReshapeAlias", "Transpose", "T", "Permute", "Squeeze", "Unsqueeze"),
    *("Alias", "Select", "Slice", "Expand", "Clone", "ToCopy", "Index", "AsStrided"),
    *("Mean", "Mul", "Div", "Add", "Sum"),  # of a mean of losses, or a loss that was scaled
}
_LONGEST = 12


class LossProbe(Probe):
    """Follows the graph back from the loss, and listens to what torch says of its shapes."""

    id: ClassVar[str] = "loss"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """At the backward of one step; warnings from the start, for torch gives each of them once."""
        broadcasts: list[str] = []

        def listening(original: Callable[..., Any]) -> Callable[..., Any]:
            def warn(message: Any, *args: Any, **kwargs: Any) -> Any:
                if not torch.compiler.is_compiling() and "different to the input size" in str(message):
                    broadcasts.append(" ".join(str(message).split()))
                return original(message, *args, **kwargs)

            return warn

        def backward(original: Callable[..., Any]) -> Callable[..., Any]:
            def backward(outputs: Any, *args: Any, **kwargs: Any) -> Any:
                if recorder.index == LOOKED_AT_STEP and len(outputs) == 1:
                    look(outputs[0])
                return original(outputs, *args, **kwargs)

            return backward

        def look(loss: torch.Tensor) -> None:
            chain = tuple(_chain(loss.grad_fn))
            self.see(host, LossGraph(chain, broadcasts[0] if broadcasts else ""))

        look = self.guarded(host, look)
        host.wrap(warnings, "warn", listening)
        host.wrap(torch.autograd, "_engine_run_backward", backward)


def _chain(node: Any) -> Iterator[str]:
    """Names along the first branch that leads on, shape changes and scalings left out."""
    for _ in range(4 * _LONGEST):
        if node is None:
            return
        name = type(node).__name__.removesuffix("Backward0").removesuffix("Backward1")
        if name not in _SHAPES:
            yield name
        node = next((before for before, _ in node.next_functions if before is not None), None)
