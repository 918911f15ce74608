"""The NUMA nodes of the machine, as the kernel tells them. Standard library only: both worlds read it."""

from __future__ import annotations

from pathlib import Path

_SYSTEM = Path("/sys/devices/system/node")
_DEVICES = Path("/sys/bus/pci/devices")


def threads_of_node(node: int) -> set[int]:
    """Its logical cores; none where the kernel knows no such node.

    Raises:
        OSError: It cannot be read.
    """
    try:
        return _members((_SYSTEM / f"node{node}" / "cpulist").read_text())
    except FileNotFoundError:
        return set()


def threads_by_node(allowed: set[int]) -> tuple[int, ...]:
    """How many of these logical cores each node has, by the node's number; empty where the kernel does not say."""
    try:
        nodes = _members((_SYSTEM / "online").read_text())
        return tuple(len(allowed & threads_of_node(node)) for node in range(max(nodes, default=-1) + 1))
    except OSError:
        return ()


def node_of_device(address: str) -> int:
    """The node that a PCI device is attached to, by its address (0000:3b:00.0); -1 where the kernel does not say."""
    try:
        return int((_DEVICES / address / "numa_node").read_text())
    except (OSError, ValueError):
        return -1


def _members(text: str) -> set[int]:
    """What a list such as "0-3,8" names."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
