"""What the training process sees of the machine: affinity, quota, CPU features, libc, compiler."""

from __future__ import annotations

import contextlib
import glob
import os
import platform
import shutil

from hotlap.knobs.hardware.allocator import installed
from hotlap.numa import threads_by_node
from hotlap.processor import physical, processor, usable
from hotlap.records import Machine

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16", "sve", "asimd")


def machine() -> Machine:
    """The machine as this process may use it. Linux; elsewhere the fields that cannot be known say so."""
    affinity = usable()
    cpu, flags = processor()
    return Machine(
        cpu=cpu,
        cores=physical(affinity),
        threads=len(affinity),
        quota=_quota(),
        memory_bytes=_memory_bytes(),
        flags=tuple(flag for flag in _FLAGS if flag in flags),
        libc=" ".join(platform.libc_ver()).strip() or "musl",
        preload=os.environ.get("LD_PRELOAD", ""),
        gpus=_gpus(),
        huge_pages=_chosen(_read("/sys/kernel/mm/transparent_hugepage/enabled")),
        allocators=tuple(name for name in ("tcmalloc", "jemalloc") if installed(name)),
        nodes=threads_by_node(set(affinity)),
        compiler=shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++") or "",
    )


def _chosen(modes: str) -> str:
    """The one in brackets."""
    return modes.partition("[")[2].partition("]")[0]


def _gpus() -> tuple[str, ...]:
    """As the kernel's part of the driver names them; torch may be built without CUDA."""
    texts = [_read(path) for path in sorted(glob.glob("/proc/driver/nvidia/gpus/*/information"))]
    models = [line.partition(":")[2].strip() for text in texts for line in text.splitlines() if "Model:" in line]
    return tuple(models)


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""


def _quota() -> float | None:
    """Cores that the control group allows, in either version of the interface."""
    group = _read("/sys/fs/cgroup/cpu.max").split()
    if len(group) == 2 and group[0] != "max":
        return int(group[0]) / int(group[1])
    quota, period = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
