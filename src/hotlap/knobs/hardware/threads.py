"""Threads within one operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_TINY_PARAMETERS = 100_000  # one thread is then the likeliest gain, so it is tried first


class Threads(Knob):
    """Run each operation with another number of CPU threads.

    ## What it changes
    `torch.set_num_threads`, in the training process alone. Sums are divided among threads differently, so results may
    differ in the last bit. A number that the script sets itself is replaced before the first update.
    ## Why it can help
    torch may start more threads than the process may use (a quota, several ranks, two threads per core) or, under a
    launcher, only one. Small operations run fastest on one: waking the others costs more than they bring.
    ## When it cannot
    A process that may use one core only, or work that already has as many threads as pay.
    ## Source
    torch.set_num_threads documentation; torchrun sets OMP_NUM_THREADS=1; ollama#17916 (45x lost above a quota).
    """

    id: ClassVar[str] = "threads"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.ANY
    allowed: ClassVar[tuple[Value, ...] | range] = range(1, 1025)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Physical cores, logical ones, half and one, within the quota and shared among the ranks."""
        machine = facts.machine
        limit = machine.threads if machine.quota is None else min(machine.threads, max(1, int(machine.quota)))
        limit = max(1, limit // facts.ranks_here)
        cores = max(1, min(limit, machine.cores // facts.ranks_here))
        if facts.is_cuda and facts.threads <= limit:
            return Skip("the training runs on an accelerator, and no more CPU threads run than cores are free")
        wanted = [cores, limit, max(1, cores // 2), 1]
        if 0 < sum(root.parameters for root in facts.roots) < _TINY_PARAMETERS:
            wanted.insert(0, 1)
        values = tuple(dict.fromkeys(number for number in wanted if number != facts.threads))
        return values or Skip("the process may use one core only, and runs one thread")

    def install(self, value: Value, host: Host) -> None:
        """Set the number now, and again before the first update in case the script set its own."""
        import torch

        def turn() -> None:
            written = torch.get_num_threads()
            if written != value:
                host.call(lambda: torch.set_num_threads(int(value)), lambda: torch.set_num_threads(written))

        turn()
        host.before_first_step(lambda _: turn())

    def switches(self, facts: Facts) -> bool:
        """Torch reads it at each operation."""
        return True
