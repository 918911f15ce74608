"""Autograd graphs of steps that are long over."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class GraphKeptAlive(Audit):
    """Autograd graphs of steps that are long over.

    ## What it finds
    Something that still holds the graphs of most of the first steps some steps later: `total += loss`, or a list of
    losses or outputs as they are.
    ## Why it costs
    Memory that grows with every step, up to where there is none left; without a backward all activations with it.
    ## When it is right
    A backward through several updates, as meta-learning has it.
    ## Source
    PyTorch FAQ, "Don't accumulate history across your training loop".
    """

    id: ClassVar[str] = "graph-kept-alive"
    area: ClassVar[str] = "hardware"
    needs: ClassVar[tuple[str, ...]] = ("graphs",)

    def judge(self, seen: Seen) -> Finding:
        """By marks on the graphs, which live as long as they do."""
        assert seen.graphs is not None
        steps, alive = seen.graphs.steps, seen.graphs.alive
        if 2 * alive < steps or not steps:
            return self.passes("a step's graph goes with its step", alive=alive)
        return self.fails(
            f"the graphs of {alive} of the first {steps} steps are still held",
            "add up loss.item() or loss.detach(), and detach what is kept in lists",
            alive=alive,
            steps=steps,
        )
