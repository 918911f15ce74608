"""Blocks whose activations are let go and computed again in the backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from hotlap.inside.repeated import rewritable, rewritten

if TYPE_CHECKING:
    from hotlap.inside.host import Host


def by_block(root: nn.Module, call: Callable[..., Any], host: Host, every: int) -> Callable[..., Any]:
    """The root's call, in which every so-manieth of its repeated blocks keeps nothing but its inputs.

    Random numbers of the second computation are those of the first, and the generators are left where the first left
    them; so are running statistics, which would else move twice in a step.
    """
    blocks = rewritable(root)[::every]
    if not blocks:
        return call  # another root has them

    def run(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return block._call_impl(*args, **kwargs)
        return checkpoint(_Twice(block), *args, use_reentrant=False, **kwargs)

    return rewritten(call, host, blocks, run)


class _Twice:
    """A block's call, and from the second time on the same on copies of the block's buffers."""

    def __init__(self, block: nn.Module) -> None:
        self._block = block
        self._called = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._called:
            self._called = True
            return self._block._call_impl(*args, **kwargs)
        buffers = {name: buffer.clone() for name, buffer in self._block.named_buffers()}
        if not buffers:
            return self._block._call_impl(*args, **kwargs)
        return functional_call(self._block, buffers, args, kwargs)
