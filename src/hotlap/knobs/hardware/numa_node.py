"""One NUMA node for the whole process."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.numa import threads_of_node
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class NumaNode(Knob):
    """Keep the training on the cores of one NUMA node, and with them its memory.

    ## What it changes
    The affinity of the training process, and so of the threads and loader workers that it starts: the node of the
    accelerator, or on a CPU the one with the most cores that the process may use. No more threads run than there are
    cores, and with fewer of them sums are divided differently. Memory follows, since Linux takes it from the node of
    the core that touches it first.
    ## Why it can help
    A core reaches the memory and the accelerator of its own node sooner than those of another one.
    ## When it cannot
    Machines of one node, a process that is bound already, or work that needs the cores of all nodes.
    ## Source
    torch.numa.binding (`torchrun --numa-binding=node`); set_mempolicy(2), "MPOL_DEFAULT".
    """

    id: ClassVar[str] = "numa-node"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.IMPORT
    conflicts: ClassVar[tuple[str, ...]] = ("thread-pinning",)
    allowed: ClassVar[tuple[Value, ...] | range] = range(1024)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """The accelerator's node, or on a CPU the one with the most cores for us, where there are several."""
        cores = facts.machine.nodes
        if sum(map(bool, cores)) < 2:
            return Skip("the process may use the cores of one NUMA node only")
        if facts.world_size > 1 and not facts.is_cuda:
            return Skip("each of several processes would take the same node")
        if facts.is_cuda and not (0 <= facts.device_node < len(cores) and cores[facts.device_node]):
            return Skip("the kernel does not say at which NUMA node the accelerator is, or keeps the process off it")
        return (facts.device_node if facts.is_cuda else cores.index(max(cores)),)

    def install(self, value: Value, host: Host) -> None:
        """Bind the process before any thread of its operations has started."""
        import os

        import torch

        before, threads = os.sched_getaffinity(0), torch.get_num_threads()
        cores = before & threads_of_node(int(value))
        if not cores:
            raise OSError(f"the process may not use the cores of NUMA node {value}")

        def bind() -> None:
            os.sched_setaffinity(0, cores)
            torch.set_num_threads(min(threads, len(cores)))

        def release() -> None:
            os.sched_setaffinity(0, before)
            torch.set_num_threads(threads)

        host.call(bind, release)
