"""What the operating system and the launcher know of this process."""

from __future__ import annotations

import os
import resource

import torch


def rank() -> str:
    """Of this process in the training; "0" when it trains alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return str(torch.distributed.get_rank())
    return os.environ.get("RANK", "0")


def faults() -> int:
    """Minor page faults of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def since_start() -> float:
    """Seconds since the process was started, from the kernel's books."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        started_ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/uptime", encoding="ascii") as file:
        uptime_s = float(file.read().split()[0])
    return uptime_s - started_ticks / os.sysconf("SC_CLK_TCK")


def resident() -> tuple[int, int]:
    """Bytes of memory that this process holds, and the most it has held; (0, 0) where the kernel does not say."""
    found = {"VmRSS": 0, "VmHWM": 0}
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in found:
                    found[name] = int(value.split()[0]) * 1024
    except OSError:
        pass
    return found["VmRSS"], found["VmHWM"]


def forget_peak() -> bool:
    """Let this process's peak be what it holds now; False where the kernel does not offer that."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def children_bytes() -> int:
    """Memory of the processes that this one started, with what they share divided among them."""
    found = 0
    for thread in os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else ():
        try:
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                children = file.read().split()
            for child in children:
                with open(f"/proc/{child}/smaps_rollup", encoding="ascii", errors="replace") as file:
                    found += sum(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
        except OSError:  # gone by now
            pass
    return found
