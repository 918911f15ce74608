"""Gradients of a float16 backward, scaled so that they do not vanish, under a script that knows nothing of it.

What `torch.amp.GradScaler` does with three calls in a script is done here around the backward and the step: the
backward starts from the scale instead of from one, every parameter's gradient is divided by it before it is added to
what is there, and a step whose gradients overflowed is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.weak import WeakTensorKeyDictionary

from hotlap.inside.idle import idle, takes_closure

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_GROWTH_STEPS = 2000  # as GradScaler has it
_INSTALLED = "_hotlap_loss_scale"
_FIRST = 2.0**12
"""GradScaler begins with 2**16 and leaves out the first steps until it fits; those steps would be lost to the user."""


class LossScale:
    """The scale of one process.

    Attributes:
        scale: A power of two, so that scaling and dividing lose nothing.
    """

    def __init__(self, host: Host, knob: str) -> None:
        self._host = host
        self._knob = knob
        self._optimizers: WeakSet[torch.optim.Optimizer] = WeakSet()
        self._hooked = WeakTensorKeyDictionary()
        self._running = False
        self._steps = 0
        self.scale = _FIRST

    def install(self) -> None:
        """Around every backward that leaves gradients on parameters, and before every step; a second time is none."""
        if hasattr(torch.autograd, _INSTALLED):
            return
        self._host.set(torch.autograd, _INSTALLED, True)
        self._host.wrap(torch.optim.Optimizer, "add_param_group", self._collecting)
        self._host.wrap(torch.autograd, "_engine_run_backward", self._scaled)
        handle = register_optimizer_step_pre_hook(self._before_step)
        self._host.call(lambda: None, handle.remove)

    def _collecting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def add_param_group(optimizer: torch.optim.Optimizer, param_group: dict[str, Any]) -> None:
            original(optimizer, param_group)
            self._optimizers.add(optimizer)

        return add_param_group

    def _scaled(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run(outputs: Any, gradients: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
            if not kwargs.get("accumulate_grad"):  # torch.autograd.grad, whose answers the script reads itself
                return original(outputs, gradients, *args, **kwargs)
            self._hook_parameters()
            self._running = True
            try:
                scaled = tuple(one if one is None else one * self.scale for one in gradients)
                return original(outputs, scaled, *args, **kwargs)
            finally:
                self._running = False

        return run

    def _hook_parameters(self) -> None:
        """Each time, for a parameter may be unfrozen between two steps."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.requires_grad and parameter not in self._hooked:
                        parameter.register_hook(self._unscaled)
                        self._hooked[parameter] = True

    def _unscaled(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient / self.scale if self._running else gradient

    def _before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if takes_closure(args, kwargs):
            if self.scale != 1.0:
                self.scale = 1.0
                self._host.failed(self._knob, "a step with a closure cannot be left out when its gradients overflow")
            return None
        if _finite([p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]):
            self._steps += 1
            if self._steps % _GROWTH_STEPS == 0:
                self.scale *= 2
            return None
        self._steps, self.scale = 0, self.scale / 2
        return idle(optimizer, args, kwargs)


def _finite(gradients: list[torch.Tensor]) -> bool:
    """Waits for the device, as GradScaler does."""
    dense = [gradient.coalesce().values() if gradient.is_sparse else gradient for gradient in gradients]
    return bool(torch.nn.utils.get_total_norm(dense, inf).isfinite())
