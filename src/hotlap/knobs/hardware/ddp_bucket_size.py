"""How many gradients are sent at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs import ddp
from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class DdpBucketSize(Knob):
    """Send gradients in larger or smaller buckets than DistributedDataParallel's 25 MB.

    ## What it changes
    `bucket_cap_mb`, whatever the script passes. Sums over processes may be taken in another order.
    ## Why it can help
    Small buckets can be sent while the backward still runs; large ones use a fast network better.
    ## When it cannot
    One process, or models of a few MB, which fit into one bucket.
    ## Source
    DistributedDataParallel documentation, "bucket_cap_mb".
    """

    id: ClassVar[str] = "ddp-bucket-size"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.BUILD
    allowed: ClassVar[tuple[Value, ...] | range] = range(1, 1025)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """For trainings that several processes share."""
        return ddp.not_used(facts) or (100, 50, 10)

    def install(self, value: Value, host: Host) -> None:
        """Pass it to the constructor."""
        ddp.construct(host, bucket_cap_mb=int(value))
