"""Compiles a root as a whole, or one of the blocks that it repeats for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_REPEATED = 3  # of one class in one list


def repeated(root: nn.Module) -> list[nn.Module]:
    """The outermost modules, with modules of their own, that stand in a list with others of their class."""
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in root.modules():
        if module not in inside and isinstance(module, (nn.ModuleList, nn.Sequential)):
            children = [child for child in module if next(child.children(), None) is not None]
            alike = [c for c in children if sum(type(c) is type(other) for other in children) >= _REPEATED]
            found += alike
            inside.update(below for block in alike for below in block.modules())
    return found


def whole(
    root: nn.Module, call: Callable[..., Any], host: Host, mode: str | None, dynamic: bool | None
) -> Callable[..., Any]:
    """The root's call, compiled; a failure is told if no graph came of it, for Dynamo would not say."""
    from torch._dynamo.utils import counters

    compiled = torch.compile(call, mode=mode, dynamic=dynamic)
    checked: list[bool] = []

    def compiled_call(*args: Any, **kwargs: Any) -> Any:
        out = compiled(*args, **kwargs)
        if not checked:
            checked.append(True)
            if not counters["stats"]["unique_graphs"]:
                host.failed("compile", f"no graph of {type(root).__name__} was compiled")
        return out

    return compiled_call


def by_block(root: nn.Module, call: Callable[..., Any], host: Host) -> Callable[..., Any]:
    """The root's call, in which every repeated block goes through one compiled function.

    The block is an argument of that function, so one compilation serves all that are alike.
    """
    run = torch.compile(lambda block, *args, **kwargs: block._call_impl(*args, **kwargs))
    active = [False]

    def through(block: nn.Module) -> Callable[..., Any]:
        def block_call(*args: Any, **kwargs: Any) -> Any:
            return run(block, *args, **kwargs) if active[0] else block._call_impl(*args, **kwargs)

        return block_call

    blocks = [block for block in repeated(root) if vars(block).get("_compiled_call_impl") is None]  # roots stay roots
    for block in blocks:
        host.set(block, "_compiled_call_impl", through(block))

    def root_call(*args: Any, **kwargs: Any) -> Any:
        active[0] = True
        try:
            return call(*args, **kwargs)
        finally:
            active[0] = False

    if not blocks:
        host.failed("compile", f"{type(root).__name__} repeats no block")
    return root_call
