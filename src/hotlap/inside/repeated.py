"""The blocks that a model repeats, and calls of their own for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_REPEATED = 3  # of one class in one list
BlockCall = Callable[..., Any]
"""Takes the block, then what the block was called with."""


def repeated(root: nn.Module) -> list[nn.Module]:
    """The outermost modules, with modules of their own, that stand in a list with others of their class."""
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in root.modules():
        if module not in inside and isinstance(module, (nn.ModuleList, nn.Sequential)):
            held: list[nn.Module | None] = [*module]  # some libraries leave holes
            children = [c for c in held if c is not None and next(c.children(), None) is not None]
            alike = [c for c in children if sum(type(c) is type(other) for other in children) >= _REPEATED]
            found += alike
            inside.update(below for block in alike for below in block.modules())
    return found


def rewritable(root: nn.Module) -> list[nn.Module]:
    """Those of them that have no call of their own, as roots and what the script compiles have."""
    return [block for block in repeated(root) if vars(block).get("_compiled_call_impl") is None]


def rewritten(call: Callable[..., Any], host: Host, blocks: Sequence[nn.Module], run: BlockCall) -> Callable[..., Any]:
    """The root's call, in which these blocks are called by `run`; elsewhere they are called as the script wrote them.

    Args:
        call: Of the root.
        host: Of this process.
        blocks: Of the root, see `rewritable`.
        run: From the block and its arguments to its answer.
    """
    active = [False]

    def through(block: nn.Module) -> Callable[..., Any]:
        def block_call(*args: Any, **kwargs: Any) -> Any:
            return run(block, *args, **kwargs) if active[0] else block._call_impl(*args, **kwargs)

        return block_call

    for block in blocks:
        host.set(block, "_compiled_call_impl", through(block))

    def root_call(*args: Any, **kwargs: Any) -> Any:
        active[0] = True
        try:
            return call(*args, **kwargs)
        finally:
            active[0] = False

    return root_call
