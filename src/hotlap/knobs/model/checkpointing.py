"""Activation checkpointing that memory does not need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host
_OPTIONS = {"use_reentrant", "context_fn", "determinism_check", "debug", "early_stop", "preserve_rng_state"}


class Checkpointing(Knob):
    """Keep the activations that `torch.utils.checkpoint` would let go and compute again.

    ## What it changes
    `checkpoint(function, ...)` calls the function, and that is all: every activation stays until the backward has used
    it. Memory grows by as much as the script saved.
    ## Why it can help
    The forward of what is checkpointed runs once instead of twice, up to a third of the step.
    ## When it cannot
    Scripts that checkpoint nothing, or that run out of memory without: such a trial fails, and the setting is out.
    ## Source
    torch.utils.checkpoint documentation.
    """

    id: ClassVar[str] = "checkpointing"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.IMPORT
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Off for scripts that checkpoint in their steps."""
        if facts.habits.get("checkpoint"):
            return (False,)
        if any(root.compiled for root in facts.roots):
            return Skip("the compiled model hides whether it checkpoints activations")
        return Skip("the script checkpoints no activations in its steps")

    def install(self, value: Value, host: Host) -> None:
        """Call through; `checkpoint_sequential` comes by here as well.

        Scripts import the function by its name, so this holds for what they import from now on.
        """
        import torch.utils.checkpoint

        def through(_: Callable[..., Any]) -> Callable[..., Any]:
            def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                return function(*args, **{name: kwargs[name] for name in kwargs.keys() - _OPTIONS})

            return checkpoint

        host.wrap(torch.utils.checkpoint, "checkpoint", through)
