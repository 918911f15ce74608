"""What the loss is made of."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from hotlap.inside.graph import before_backward, branch, name_of
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
_SUM = 2  # torch's number for reduction="sum"


class LossProbe(Probe):
    """Follows the graph back from the loss, and listens to what torch says of its shapes."""

    id: ClassVar[str] = "loss"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """At the backwards of one step; warnings from the start, for torch gives each of them once."""
        broadcasts: list[str] = []
        graphs: list[LossGraph] = []
        served: Counter[int] = Counter()

        def listening(original: Callable[..., Any]) -> Callable[..., Any]:
            def warn(message: Any, *args: Any, **kwargs: Any) -> Any:
                if not torch.compiler.is_compiling() and "different to the input size" in str(message):
                    broadcasts.append(" ".join(str(message).split()))
                return original(message, *args, **kwargs)

            return warn

        def look(outputs: Any, seeds: Any) -> None:
            if recorder.index == LOOKED_AT_STEP and len(outputs) == 1:
                graphs.append(_graph(outputs[0], seeds, recorder.losses.scaled))

        def serve(iterator: Any, batch: Any) -> Any:
            served.update([id(iterator)] if recorder.index == LOOKED_AT_STEP else [])
            return batch

        def end(done: int) -> None:
            if done == LOOKED_AT_STEP:
                recorder.on_end.remove(end)
                alike = len(set(graphs)) == 1 and list(served.values()) == [len(graphs)]
                said = broadcasts[0] if broadcasts else ""
                if graphs:
                    self.see(host, replace(graphs[0], broadcasts=said, accumulated=len(graphs) if alike else 0))

        end = self.guarded(host, end)
        host.wrap(warnings, "warn", listening)
        before_backward(host, self.guarded(host, look))
        host.loaders.serve(serve)
        recorder.on_end.append(end)


def _graph(loss: torch.Tensor, seeds: Any, scaler: bool) -> LossGraph:
    nodes = list(branch(loss.grad_fn))
    above = [name_of(node) for node in takewhile(lambda node: name_of(node) in _SHAPES, nodes)]
    scalings = [name for name in above if name in ("Mul", "Div")][scaler:]  # a gradient scaler's own comes first
    seeded = any(seed is not None and seed.numel() == 1 and float(seed) != 1 for seed in seeds)
    reduction = getattr(nodes[len(above)], "_saved_reduction", None) if len(above) < len(nodes) else None
    summed = reduction == _SUM or ("Sum" in above and "Mean" not in above)
    chain = tuple(name for node in nodes if (name := name_of(node)) not in _SHAPES)
    return LossGraph(chain, "", bool(scalings) or seeded, summed)
