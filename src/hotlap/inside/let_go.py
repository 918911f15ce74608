"""Gradients that are let go where a script asks for zeros, without losing what zeros would have done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from hotlap.inside.closures import follow
from hotlap.inside.optimizers import owned_by

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class LetGo:
    """Takes `set_to_none=False` for its opposite, and knows which parameters would have kept a gradient of zeros."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._had: dict[int, ref[Any]] = {}

    def install(self) -> None:
        """For every optimizer and module from now on."""
        for owner, owned in ((Optimizer, owned_by), (nn.Module, nn.Module.parameters)):
            self._host.wrap(owner, "zero_grad", lambda original, owned=owned: self._letting_go(original, owned))
        self._host.call(lambda: None, register_optimizer_step_pre_hook(self._before_step).remove)

    def _letting_go(self, original: Callable[..., Any], owned: Callable[[Any], Any]) -> Callable[..., Any]:
        def zero_grad(owner: Any, set_to_none: bool = True) -> None:
            for p in owned(owner):
                if set_to_none:
                    self._had.pop(id(p), None)
                elif p.grad is not None and not p.grad.is_sparse:
                    self._had[id(p)] = ref(p)
            original(owner, set_to_none=True)

        return zero_grad

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        return follow(args, kwargs, lambda: self._fill(optimizer)) or self._fill(optimizer)

    def _fill(self, optimizer: Any) -> None:
        """Give those their zeros that got nothing since, for the step that is about to be made.

        Whoever has a gradient then is known again by the next `zero_grad`; the script may have let it go by itself.
        """
        for p in owned_by(optimizer):
            had = self._had.pop(id(p), None)
            if p.grad is None and had is not None and had() is p:
                p.grad = p.detach().clone().zero_()
