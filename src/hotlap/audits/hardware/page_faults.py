"""Memory that the kernel hands out anew in every step."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MANY = 10_000
_FAULT_S = 1e-6


class PageFaults(Audit):
    """Memory that the kernel hands out anew in every step.

    ## What it finds
    More than ten thousand page faults a step on a CPU.
    ## Why it costs
    Each page is zeroed by the kernel before it is used, about a microsecond each.
    ## When it is right
    Steps of minutes.
    ## Source
    mallopt(3): tensors above 32 MiB are fresh mappings each time.
    """

    id: ClassVar[str] = "page-faults"
    area: ClassVar[str] = "hardware"
    knobs: ClassVar[tuple[str, ...]] = ("malloc-thresholds",)

    def judge(self, seen: Seen) -> Finding:
        """By the kernel's count."""
        faults = seen.facts.faults_per_step
        if faults < _MANY:
            return self.passes(f"{faults:,.0f} page faults per step", faults=faults)
        return self.fails(
            f"{faults:,.0f} page faults per step, about {faults * _FAULT_S * 1e3:.0f} ms of the kernel's work",
            "set MALLOC_MMAP_THRESHOLD_=1073741824 and MALLOC_TRIM_THRESHOLD_=8589934592 for the process",
            faults=faults,
        )
