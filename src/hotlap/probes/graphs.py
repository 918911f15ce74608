"""Autograd graphs that outlive their step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ref

from hotlap.inside.graph import before_backward, branch
from hotlap.probes.probe import LOOKED_AT_STEP, Probe, Roots
from hotlap.records.seen import Graphs

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_COUNTED_AFTER = LOOKED_AT_STEP + 2  # the script's variables may still hold the last step or two


class _Mark:
    """Lives as long as the node that it is put on."""


class GraphsProbe(Probe):
    """Marks the graphs of some steps deep down, where whatever holds a part of them holds the mark."""

    id: ClassVar[str] = "graphs"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """Mark at each backward; count the marks a little later."""
        marks: dict[int, list[ref[_Mark]]] = {}

        def mark(outputs: Any, seeds: Any) -> None:
            if recorder.index > LOOKED_AT_STEP or recorder.tape.foreign:
                return
            for output in outputs:
                nodes = [node for node in branch(getattr(output, "grad_fn", None)) if node.next_functions]
                if nodes:
                    nodes[-1].metadata[self.id] = made = _Mark()
                    marks.setdefault(recorder.index, []).append(ref(made))

        def count(done: int) -> None:
            if done == _COUNTED_AFTER:
                recorder.on_end.remove(count)
                alive = sum(any(made() is not None for made in step) for step in marks.values())
                self.see(host, Graphs(len(marks), alive))

        count = self.guarded(host, count)
        before_backward(host, self.guarded(host, mark))
        recorder.on_end.append(count)
