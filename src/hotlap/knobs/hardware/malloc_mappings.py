"""A mapping of its own for every large tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_MMAP = -3  # M_MMAP_THRESHOLD of malloc.h
_GLIBC_BYTES = 128 << 10  # what glibc starts with


class MallocMappings(Knob):
    """Let glibc hand the memory of every freed tensor back to the kernel, instead of keeping what may be of use later.

    ## What it changes
    The size above which malloc maps memory of its own stays at glibc's first value (128 KiB), by `mallopt` in the
    training process. By itself glibc raises it with each larger block that is freed, up to 32 MiB.
    ## Why it can help
    Below that size freed tensors stay in the heap, between others that live: the process holds them, and what another
    setting saves stays in the process as well. A mapping goes back whole.
    ## When it cannot
    Tensors above 32 MiB, which are mapped anyway; musl, an allocator that was preloaded, a training on a device. It
    costs time: the kernel zeroes the pages of each tensor anew.
    ## Source
    mallopt(3): setting M_MMAP_THRESHOLD disables its dynamic adjustment.
    """

    id: ClassVar[str] = "malloc-mappings"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.ANY
    conflicts: ClassVar[tuple[str, ...]] = ("malloc-thresholds", "allocator")
    goals: ClassVar[tuple[Goal, ...]] = (Goal.MEMORY,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for trainings on the CPU under glibc's own malloc."""
        if facts.is_cuda:
            return Skip("the tensors are on an accelerator, with an allocator of its own")
        if not facts.machine.libc.startswith("glibc"):
            return Skip(f"the thresholds are glibc's, and the training runs on {facts.machine.libc or 'another'}")
        if "malloc" in facts.machine.preload:
            return Skip(f"another allocator is preloaded ({facts.machine.preload})")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Set it in this process, before the model is built; glibc cannot be told to adjust it again."""
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt

        def fix() -> None:
            if not mallopt(_MMAP, _GLIBC_BYTES):
                raise OSError("mallopt refused the threshold")

        host.call(fix, lambda: None)
