"""More threads than there are cores to run them."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class TooManyThreads(Audit):
    """More threads than there are cores to run them.

    ## What it finds
    torch's threads above the cores of the affinity mask, or above what a cgroup's quota allows.
    ## Why it costs
    Threads that wait for each other's turn: every parallel region ends with the slowest.
    ## When it is right
    Never for arithmetic.
    ## Source
    torchtitan#4031, ollama#17916.
    """

    id: ClassVar[str] = "too-many-threads"
    area: ClassVar[str] = "hardware"
    knobs: ClassVar[tuple[str, ...]] = ("threads",)

    def judge(self, seen: Seen) -> Finding:
        """By torch's count and the machine's."""
        machine, threads = seen.facts.machine, seen.facts.threads
        allowed = min(machine.threads, machine.quota or machine.threads) / seen.facts.ranks_here
        if threads <= max(1.0, allowed):
            return self.passes(f"{threads} threads on {allowed:g} cores", threads=threads)
        return self.fails(
            f"{threads} threads share {allowed:g} cores",
            f"call torch.set_num_threads({max(1, int(allowed))}) or set OMP_NUM_THREADS",
            threads=threads,
        )
