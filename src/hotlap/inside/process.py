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
