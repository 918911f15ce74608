"""A torch.compile that compiles again and again, or in pieces."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MANY = 3  # one for a last, smaller batch and one for evaluation are the usual ones


class Recompiles(Audit):
    """A torch.compile that compiles again and again, or in pieces.

    ## What it finds
    Functions that were compiled anew because a guard failed, breaks in the graph, and the limit from which on torch
    runs a function eagerly.
    ## Why it costs
    Every compilation takes seconds, every break ends a fusion; at the limit the training is as slow as before, without
    a word.
    ## When it is right
    A few shapes, each of them many steps; a break outside the model.
    ## Source
    torch.compile programming model, "Recompilation" and "Graph breaks"; TensorRT-LLM#6142.
    """

    id: ClassVar[str] = "recompiles"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("compilation",)
    knobs: ClassVar[tuple[str, ...]] = ("script-compile",)

    def judge(self, seen: Seen) -> Finding:
        """By the compiler's own counters."""
        assert seen.compilation is not None
        found = seen.compilation
        if not found.graphs and not found.limit_reached:
            return self.not_applicable("the script compiles nothing")
        why = f", the last time because {found.why.split(': ', 1)[-1]}" if found.why else ""
        again = f"{found.recompiles} recompilations, {found.spent_s:.1f} s with the first ones{why}"
        advice = "mark what varies with torch._dynamo.mark_dynamic or compile with dynamic=True, or pad to few shapes"
        if found.limit_reached:
            told = f"torch.compile gave up at its limit and runs eagerly: {again}"
            return self.fails(told, advice, recompiles=found.recompiles)
        if found.recompiles >= _MANY:
            return self.informs(f"torch.compile keeps compiling: {again}", advice, recompiles=found.recompiles)
        if found.breaks:
            reason, count = max(found.breaks.items(), key=lambda item: item[1])
            return self.informs(
                f"{sum(found.breaks.values())} breaks in compiled graphs, {count} of them: {reason}",
                "find them with TORCH_LOGS=graph_breaks, and move such calls out of what is compiled",
                breaks=sum(found.breaks.values()),
            )
        return self.passes(f"{found.graphs} graphs, {found.recompiles} recompilations", graphs=found.graphs)
