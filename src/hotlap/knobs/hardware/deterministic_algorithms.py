"""The price of deterministic algorithms."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class DeterministicAlgorithms(Knob):
    """Measure what `torch.use_deterministic_algorithms(True)` costs; only `--set` takes it off.

    ## What it changes
    The switch, after the script has set it: operations may use kernels whose sums are in no fixed order, so two runs
    with one seed no longer agree to the bit. Memory that is not initialized is no longer filled either.
    ## Why it can help
    Deterministic scatters and index operations are slower, and filling fresh memory takes its bandwidth.
    ## When it cannot
    Scripts that do not ask for determinism, or whose operations are deterministic anyway.
    ## Source
    torch.use_deterministic_algorithms documentation.
    """

    id: ClassVar[str] = "deterministic-algorithms"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)
    conflicts: ClassVar[tuple[str, ...]] = ("reproducible",)
    suggested_only: ClassVar[bool] = True

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Off, for scripts that ask for them."""
        asks = facts.precision.deterministic_algorithms
        return (False,) if asks else Skip("the script does not ask for deterministic algorithms")

    def install(self, value: Value, host: Host) -> None:
        """Set it before the first update: by then the script has said what it wants."""
        import torch

        def turn() -> None:
            written, warns = (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            )
            switch = torch.use_deterministic_algorithms
            if written:
                host.call(lambda: switch(False), lambda: switch(written, warn_only=warns))

        host.before_first_step(lambda _: turn())

    def switches(self, facts: Facts) -> bool:
        """Torch reads it at each operation."""
        return True
