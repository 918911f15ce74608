"""The price of anomaly detection."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class AnomalyDetection(Knob):
    """Measure what `torch.autograd.set_detect_anomaly(True)` costs; only `--set` takes it off.

    ## What it changes
    The mode, from the second training step on. No number changes; a NaN in a gradient is no longer an error where it
    arises, with the line that made it, but goes on into the weights.
    ## Why it can help
    Every forward operation records its stack, and every backward operation's results are searched for NaN.
    ## When it cannot
    Scripts that do not switch it on.
    ## Source
    torch.autograd documentation, "Anomaly detection": for debugging only.
    """

    id: ClassVar[str] = "anomaly-detection"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.FIRST_STEP
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)
    suggested_only: ClassVar[bool] = True

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Off, for scripts that trained with it on."""
        on = "torch.autograd.set_detect_anomaly" in facts.switches
        return (False,) if on else Skip("the script does not detect anomalies while it trains")

    def install(self, value: Value, host: Host) -> None:
        """Set it before the first update: by then the script has said what it wants."""
        import torch

        def turn() -> None:
            if torch.is_anomaly_enabled():
                checks, switch = torch.is_anomaly_check_nan_enabled(), torch.set_anomaly_enabled
                host.call(lambda: switch(False), lambda: switch(True, checks))

        host.before_first_step(lambda _: turn())

    def switches(self, facts: Facts) -> bool:
        """Autograd reads it at each operation."""
        return True
