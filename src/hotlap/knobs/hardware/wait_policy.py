"""What threads do while they wait for work."""

from __future__ import annotations

from typing import ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

_LARGE_FLOPS = 2_000_000_000  # per step; on some cores such a step takes tens of milliseconds


class WaitPolicy(Knob):
    """Let OpenMP's threads spin for their next work instead of going to sleep.

    ## What it changes
    `OMP_WAIT_POLICY`, for the training process from its start. No number changes.
    ## Why it can help
    Waking a thread takes longer than many small operations do.
    ## When it cannot
    Large operations, one thread, cores that something else needs meanwhile (loader workers, other ranks), and
    threads above the cores: then spinning takes time from whoever has the work.
    ## Source
    OpenMP specification, "OMP_WAIT_POLICY"; libgomp manual, "GOMP_SPINCOUNT"; llvm-project#195239.
    """

    id: ClassVar[str] = "wait-policy"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.PROCESS
    conflicts: ClassVar[tuple[str, ...]] = ("loader-workers", "fetch-ahead")
    allowed: ClassVar[tuple[Value, ...] | range] = ("active", "passive")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Active, where every thread has a core and nobody else wants it."""
        if facts.is_cuda:
            return Skip("the training runs on an accelerator, and its CPU threads compute little")
        if facts.threads < 2:
            return Skip("the training runs on one thread, which waits for no other")
        if facts.threads * facts.ranks_here > min(facts.machine.threads, facts.machine.quota or facts.machine.threads):
            return Skip("there are more threads than cores, and spinning ones would take them from the others")
        if facts.flops_per_step is None or facts.flops_per_step > _LARGE_FLOPS:
            return Skip("its operations are large or not known, and waking threads is a small part of large ones")
        if any(loader.num_workers for loader in facts.loaders):
            return Skip("loader workers need the cores on which threads would spin")
        return ("active",)

    def environment(self, value: Value) -> dict[str, str]:
        """What OpenMP reads before the process has run a line of Python."""
        return {"OMP_WAIT_POLICY": str(value)}
