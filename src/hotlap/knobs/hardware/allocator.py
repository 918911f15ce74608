"""Another memory allocator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

_FOLDERS = ("lib/*-linux-gnu", "lib64", "lib", "local/lib")
_FILES = {"tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4"), "jemalloc": ("libjemalloc.so.2",)}


def installed(name: str) -> str:
    """Path of an allocator's library on this machine; "" when it has none."""
    places = (f"{folder}/{file}" for file in _FILES[name] for folder in _FOLDERS)
    return next((str(path) for place in places for path in sorted(Path("/usr").glob(place))), "")


class Allocator(Knob):
    """Preload tcmalloc or jemalloc in the place of the C library's malloc.

    ## What it changes
    Who hands out memory to the training process and its children, by `LD_PRELOAD`. No number changes.
    ## Why it can help
    Both keep freed memory for the next tensor of that size, and let threads allocate without waiting for each other.
    ## When it cannot
    Neither library is installed, few page faults per step, or an allocator was preloaded already.
    ## Source
    PyTorch performance tuning guide, "Switch Memory allocator"; the Xeon launcher of torch preloads them.
    """

    id: ClassVar[str] = "allocator"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.PROCESS
    conflicts: ClassVar[tuple[str, ...]] = ("malloc-thresholds", "malloc-mappings", "huge-pages")
    allowed: ClassVar[tuple[Value, ...] | range] = tuple(_FILES)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Those that are installed, for CPU steps that fault in pages."""
        if facts.is_cuda:
            return Skip("the tensors are on an accelerator, with an allocator of its own")
        if "malloc" in facts.machine.preload:
            return Skip(f"another allocator is preloaded ({facts.machine.preload})")
        if facts.faults_per_step < 1_000:
            return Skip(f"steps fault in too few pages ({facts.faults_per_step:.0f} each; it pays from 1000)")
        return facts.machine.allocators or Skip("neither tcmalloc nor jemalloc is installed")

    def environment(self, value: Value) -> dict[str, str]:
        """Preloaded before whatever the user preloads; without the library, nothing."""
        path, theirs = installed(str(value)), os.environ.get("LD_PRELOAD", "")
        return {"LD_PRELOAD": f"{path}:{theirs}" if theirs else path} if path else {}
