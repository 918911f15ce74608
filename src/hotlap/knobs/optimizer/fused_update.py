"""Fused optimizer update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_FUSED = ("Adam", "AdamW", "SGD", "Adagrad")
_CLASSES = tuple(f"torch.optim.{name.lower()}:{name}" for name in _FUSED)


class FusedUpdate(Knob):
    """Update all parameters in one kernel instead of one small operation after another.

    ## What it changes
    The optimizer's `fused` option, from its first step on. Checkpoints keep the option that the script gave.
    ## Why it can help
    On a CPU torch loops over parameters and operations; the fused kernel reads and writes each tensor once.
    ## When it cannot
    Other optimizers than Adam, AdamW, SGD and Adagrad; sparse gradients; an update that is a small part of the step.
    ## Source
    torch.optim documentation, "fused"; pytorch#123074 (5.1x on the kernel, 56 cores).
    """

    id: ClassVar[str] = "fused-update"
    area: ClassVar[str] = "optimizer"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP
    phase: ClassVar[str] = "optimizer"

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for scripts with an optimizer that has a fused kernel and does not use it."""
        if facts.manual_update:
            return Skip("the script updates its weights by hand, without an optimizer")
        fitting = [o for o in facts.optimizers if o.name in _CLASSES]
        if not fitting:
            return Skip("no optimizer of the script has a fused update (Adam, AdamW, SGD and Adagrad have)")
        fitting = [o for o in fitting if not o.fused]
        if not fitting:
            return Skip("every optimizer already updates fused")
        if not any(o.floating and not o.sparse for o in fitting):
            return Skip("parameters are not all floating, or gradients are sparse")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Switch each optimizer over right before its first step."""
        host.before_first_step(lambda optimizer: _switch(optimizer, host))


def _switch(optimizer: Any, host: Host) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    name = f"{type(optimizer).__module__}:{type(optimizer).__qualname__}"
    if name not in _CLASSES or any(p.grad is not None and p.grad.is_sparse for p in parameters):
        return
    if not all(p.is_floating_point() for p in parameters):
        return
    written = [(group.get("fused"), group.get("foreach")) for group in optimizer.param_groups]

    def fuse(*_: Any) -> None:
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = True, False
        for state in optimizer.state.values():  # a loaded step count stays on the CPU, where the kernel cannot read it
            for p in (p for p in parameters if optimizer.state.get(p) is state and p.is_cuda):
                if "step" in state:
                    state["step"] = state["step"].to(p.device)

    def as_written(_: Any, state_dict: Any) -> None:
        for group, (fused, foreach) in zip(state_dict["param_groups"], written, strict=False):
            group["fused"], group["foreach"] = fused, foreach

    fuse()
    optimizer.defaults["fused"], optimizer.defaults["foreach"] = True, False
    optimizer.register_load_state_dict_post_hook(fuse)
    optimizer.register_state_dict_post_hook(as_written)
