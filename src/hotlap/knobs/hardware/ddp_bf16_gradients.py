"""Gradients that are sent in bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs import ddp
from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class DdpBf16Gradients(Knob):
    """Send gradients between processes in bfloat16.

    ## What it changes
    A communication hook halves each bucket before it is sent and widens the sum. Each process keeps float32 gradients.
    ## Why it can help
    Half the bytes on the network.
    ## When it cannot
    One process, a network that is faster than the backward, or a script that registers a hook of its own.
    ## Source
    torch.distributed.algorithms.ddp_comm_hooks documentation, "bf16_compress_hook".
    """

    id: ClassVar[str] = "ddp-bf16-gradients"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.REDUCED
    when: ClassVar[When] = When.BUILD
    unit: ClassVar[float] = 2.0**-9

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """For trainings that several devices share."""
        if not facts.is_cuda:
            return Skip("torch sends bfloat16 between CUDA devices only")
        return ddp.not_used(facts) or (True,)

    def install(self, value: Value, host: Host) -> None:
        """Register the hook right after the wrapper was built; a second one by the script is an error of torch's."""
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

        ddp.built(host, lambda wrapper: wrapper.register_comm_hook(None, bf16_compress_hook))
