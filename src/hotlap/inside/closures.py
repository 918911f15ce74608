"""Closures that are given to an optimizer's step, under which gradients are there only when they have run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class _Followed:
    """A closure that tells when it has run."""

    def __init__(self, closure: Callable[[], Any], then: Callable[[], None]) -> None:
        self.closure = closure
        self.then = then

    def __call__(self) -> Any:
        loss = self.closure()
        self.then()
        return loss


def follow(args: tuple[Any, ...], kwargs: dict[str, Any], then: Callable[[], None]) -> Any:
    """What a step's pre-hook has to return for `then` to be called whenever the closure has run; None without one.

    Args:
        args: Of the step, the optimizer first.
        kwargs: Of the step.
        then: Called after the closure.
    """
    closure = args[1] if len(args) > 1 else kwargs.get("closure")
    if not callable(closure):
        return None
    followed = _Followed(closure, then)
    if len(args) > 1:
        return (args[0], followed, *args[2:]), kwargs
    return args, {**kwargs, "closure": followed}


def is_followed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether its closure is one already."""
    return isinstance(args[1] if len(args) > 1 else kwargs.get("closure"), _Followed)
