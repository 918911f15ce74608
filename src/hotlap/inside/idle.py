"""A step that updates nothing.

torch hands the arguments of a step, the optimizer among them, to hooks that may replace them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def takes_closure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the step computes gradients of its own."""
    return len(args) > 1 or bool(kwargs.get("closure"))


def idle(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Arguments for the step of a twin that owns no parameters; the optimizer itself is not touched."""
    twin = object.__new__(type(optimizer))
    groups = [{**group, "params": []} for group in optimizer.param_groups]
    vars(twin).update(vars(optimizer), param_groups=groups)
    return (twin, *args[1:]), kwargs
