"""What torch.compile did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.probes.probe import Probe, Roots
from hotlap.records.seen import Compilation

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_LIMIT = "recompile limit"
_HOOKS = "_global_forward"
_PACKAGE = str(Path(__file__).parents[1])


class CompilationProbe(Probe):
    """Reads the compiler's own counters."""

    id: ClassVar[str] = "compilation"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """At the end."""
        recorder.on_close.append(self.guarded(host, lambda: self.see(host, _compilation())))


def _compilation() -> Compilation:
    dynamo = sys.modules.get("torch._dynamo.utils")
    if dynamo is None:  # nothing is imported for the sake of a zero
        return Compilation(0, 0, "", limit_reached=False, breaks={}, spent_s=0.0)
    every = [one for one in dynamo.get_compilation_metrics() if one.is_forward is not False]
    compiled = [one for one in every if not _ours(one)]
    why = [one.recompile_reason for one in compiled if one.recompile_reason]
    counters = dynamo.counters
    return Compilation(
        graphs=counters["stats"].get("unique_graphs", 0),
        recompiles=len(why),
        why=why[-1].splitlines()[0].strip() if why else "",
        limit_reached=any(_LIMIT in reason for kind in ("unimplemented", "graph_break") for reason in counters[kind]),
        breaks={reason.splitlines()[0]: n for reason, n in counters["graph_break"].items() if _LIMIT not in reason},
        spent_s=sum(one.entire_frame_compile_time_s or 0.0 for one in compiled),
    )


def _ours(compiled: Any) -> bool:
    """Whether it would not be there without the hooks of an observed run: for their coming and going, or of them."""
    return _HOOKS in (compiled.recompile_reason or "") or (compiled.co_filename or "").startswith(_PACKAGE)
