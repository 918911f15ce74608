"""Threads that stay on their cores."""

from __future__ import annotations

from typing import ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

_FEW = 4  # cores; below, the kernel has hardly a choice


class ThreadPinning(Knob):
    """Bind each of OpenMP's threads to a core of its own.

    ## What it changes
    `OMP_PROC_BIND` and `OMP_PLACES`, for the training process from its start. No number changes.
    ## Why it can help
    A thread that the kernel moves finds its caches cold, and two that share a core wait for each other.
    ## When it cannot
    Few cores, a machine that others use too, and loader workers: they are forked from a thread that is bound.
    ## Source
    OpenMP specification, "OMP_PROC_BIND"; pytorch#136307 (workers that inherit the binding).
    """

    id: ClassVar[str] = "thread-pinning"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.PROCESS
    conflicts: ClassVar[tuple[str, ...]] = ("loader-workers", "fetch-ahead", "numa-node")
    allowed: ClassVar[tuple[Value, ...] | range] = ("close", "spread")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Close together, for a training on several cores that forks no workers."""
        if facts.is_cuda:
            return Skip("the training runs on an accelerator, and its CPU threads compute little")
        if facts.machine.cores < _FEW or facts.threads < 2:
            return Skip(f"on {facts.machine.cores} cores with {facts.threads} threads there is little to move about")
        if facts.threads > facts.machine.cores:
            return Skip("there are more threads than cores to bind them to")
        if any(loader.num_workers for loader in facts.loaders):
            return Skip("loader workers would inherit the binding of one core")
        return ("close",)

    def environment(self, value: Value) -> dict[str, str]:
        """What OpenMP reads before the process has run a line of Python."""
        return {"OMP_PROC_BIND": str(value), "OMP_PLACES": "cores"}
