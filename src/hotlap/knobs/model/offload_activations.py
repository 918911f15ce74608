"""Activations kept in the memory of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class OffloadActivations(Knob):
    """Keep what the forward saves for the backward in page-locked memory of the host.

    ## What it changes
    The model's training forward runs under `torch.autograd.graph.save_on_cpu`: each saved tensor is copied to the host,
    and back when the backward asks for it. The bits are the same; tensors come back contiguous, so another kernel may
    take them.
    ## Why it can help
    The device holds the activations of one operation at a time instead of all.
    ## When it cannot
    A training on the CPU, where they are in the host's memory anyway; compiled models; parameters and optimizer state,
    which stay. Every byte crosses the bus twice in a step, weights that are saved included.
    ## Source
    torch.autograd.graph.save_on_cpu documentation.
    """

    id: ClassVar[str] = "offload-activations"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP
    conflicts: ClassVar[tuple[str, ...]] = ("compile",)
    goals: ClassVar[tuple[Goal, ...]] = (Goal.MEMORY,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for models on CUDA that are not compiled."""
        if not facts.is_cuda:
            return Skip("there is no CUDA device whose memory could be spared by the host's")
        if not facts.roots:
            return Skip("the script calls no module that could be found again")
        if any(root.compiled for root in facts.roots):
            return Skip("the script compiles its model, whose graph decides what is kept")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Let what each root's call saves go to the host."""
        import torch
        from torch.autograd.graph import save_on_cpu

        def layer(root: torch.nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
            def offloading(*args: Any, **kwargs: Any) -> Any:
                with save_on_cpu(pin_memory=torch.cuda.is_available()):
                    return call(*args, **kwargs)

            return offloading

        host.rewrite_roots(layer, order=6)
