"""Memory that is filled before it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class UninitializedMemory(Knob):
    """Do not fill memory that an operation is about to overwrite, where the script asks for deterministic algorithms.

    ## What it changes
    `torch.utils.deterministic.fill_uninitialized_memory`. The algorithms stay deterministic; only a script that reads
    what `torch.empty` returns before it has written to it could tell, and that would be a fault of its own.
    ## Why it can help
    Under deterministic algorithms every fresh tensor is filled with NaN first, which takes memory bandwidth.
    ## When it cannot
    Scripts that do not ask for deterministic algorithms, or that turned the filling off.
    ## Source
    torch.utils.deterministic documentation, which names the cost.
    """

    id: ClassVar[str] = "uninitialized-memory"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.ANY
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Off where deterministic algorithms fill it."""
        asks = facts.precision.deterministic_algorithms
        return (
            (False,) if asks else Skip("the script does not ask for deterministic algorithms, which fill fresh memory")
        )

    def install(self, value: Value, host: Host) -> None:
        """Set the flag behind the attribute, which torch reads at each allocation."""
        import torch

        set_to = torch._C._set_deterministic_fill_uninitialized_memory
        written = torch._C._get_deterministic_fill_uninitialized_memory()
        if written != value:
            host.call(lambda: set_to(bool(value)), lambda: set_to(written))

    def switches(self, facts: Facts) -> bool:
        """It is read at each allocation."""
        return True
