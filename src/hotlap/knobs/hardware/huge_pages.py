"""Tensors on huge pages."""

from __future__ import annotations

import os
from typing import ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

_WORTH_TRYING = 1_000  # faults per step


class HugePages(Knob):
    """Ask the kernel for pages of 2 MiB where tensors are large.

    ## What it changes
    `THP_MEM_ALLOC_ENABLE`: torch then advises the kernel for every CPU buffer of 2 MiB and more. With
    `--set huge-pages=glibc` the C library does the same for all of its memory.
    ## Why it can help
    One page fault in the place of 512, and fewer misses of the address cache.
    ## When it cannot
    A kernel without transparent huge pages, few page faults, and tensors of a few MiB, which it can make slower.
    ## Source
    pytorch#115990; glibc manual, "Memory Allocation Tunables", glibc.malloc.hugetlb.
    """

    id: ClassVar[str] = "huge-pages"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.PROCESS
    conflicts: ClassVar[tuple[str, ...]] = ("allocator",)
    allowed: ClassVar[tuple[Value, ...] | range] = ("torch", "glibc")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Torch's own way, for CPU steps that fault in many pages where the kernel can help it."""
        if facts.is_cuda:
            return Skip("the tensors are on an accelerator")
        if facts.machine.huge_pages not in ("madvise", "always"):
            return Skip(f"the kernel hands out no huge pages (mode {facts.machine.huge_pages or 'unknown'})")
        if facts.faults_per_step < _WORTH_TRYING:
            faults = f"{facts.faults_per_step:.0f} each; it pays from {_WORTH_TRYING}"
            return Skip(f"steps fault in too few pages ({faults})")
        return ("torch",)

    def environment(self, value: Value) -> dict[str, str]:
        """Both are read when the process starts."""
        if value == "torch":
            return {"THP_MEM_ALLOC_ENABLE": "1"}
        theirs = os.environ.get("GLIBC_TUNABLES", "").split(":")
        kept = [part for part in theirs if part and not part.startswith("glibc.malloc.hugetlb")]
        return {"GLIBC_TUNABLES": ":".join([*kept, "glibc.malloc.hugetlb=1"])}
