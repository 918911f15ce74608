"""Keep freed tensors in the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_TRIM, _MMAP, _MMAP_MAX = -1, -3, -4  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX of malloc.h
_LARGEST_BYTES = 1 << 30
_GLIBC_BYTES, _GLIBC_MMAPS = 128 << 10, 65536  # what glibc starts with
_WORTH_TRYING = 1_000  # faults per step; from about 10,000 on a gain is likely


class MallocThresholds(Knob):
    """Let glibc keep the memory of freed tensors instead of handing it back to the kernel in every step.

    ## What it changes
    The sizes above which malloc maps memory of its own and trims the heap, by `mallopt` in the training process. With
    `--set malloc-thresholds=environment` the same by environment variables, which loader workers then inherit.
    ## Why it can help
    A tensor above 32 MiB is a fresh mapping each time: the kernel zeroes every page of it again in each step.
    ## When it cannot
    Few page faults per step, musl, or an allocator that was preloaded. It costs memory: freed tensors stay in the
    process, and loader workers under `environment` keep theirs.
    ## Source
    mallopt(3): M_MMAP_THRESHOLD is dynamic only up to 32 MiB on 64-bit systems.
    """

    id: ClassVar[str] = "malloc-thresholds"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.ANY
    conflicts: ClassVar[tuple[str, ...]] = ("allocator", "malloc-mappings")
    steadies_memory: ClassVar[bool] = True
    allowed: ClassVar[tuple[Value, ...] | range] = ("mallopt", "environment")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for CPU steps that fault in many pages under glibc's own malloc."""
        if not facts.machine.libc.startswith("glibc"):
            return Skip(f"the thresholds are glibc's, and the training runs on {facts.machine.libc or 'another'}")
        if "malloc" in facts.machine.preload:
            return Skip(f"another allocator is preloaded ({facts.machine.preload})")
        if facts.faults_per_step < _WORTH_TRYING:
            faults = f"{facts.faults_per_step:.0f} each; it pays from {_WORTH_TRYING}"
            return Skip(f"steps fault in too few pages ({faults})")
        return ("mallopt",)

    def environment(self, value: Value) -> dict[str, str]:
        """The same thresholds for the process and all its children."""
        if value != "environment":
            return {}
        return {"MALLOC_MMAP_THRESHOLD_": str(_LARGEST_BYTES), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}

    def install(self, value: Value, host: Host) -> None:
        """Set them in this process; glibc cannot be asked for the old ones, so its initial ones are given back."""
        if value == "environment":
            return
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt

        def raise_() -> None:
            # Before glibc 2.35 the first is refused above 32 MiB; no mappings at all are the way there.
            if not ((mallopt(_MMAP, _LARGEST_BYTES) or mallopt(_MMAP_MAX, 0)) and mallopt(_TRIM, -1)):
                raise OSError("mallopt refused the thresholds")

        def take_back() -> None:
            for option, initial in ((_MMAP, _GLIBC_BYTES), (_MMAP_MAX, _GLIBC_MMAPS), (_TRIM, _GLIBC_BYTES)):
                mallopt(option, initial)

        host.call(raise_, take_back)
