"""Compiles a root as a whole, or one of the blocks that it repeats for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hotlap.inside.repeated import rewritable, rewritten
from hotlap.knobs.model.compile import GRAPHS
from hotlap.knobs.nest import mapped

if TYPE_CHECKING:
    from hotlap.inside.host import Host


def _serve_later_phases(host: Host) -> None:
    """Let graphs hold for what a script does after the steps that were compared, at no cost that could be measured.

    A hook on a module that it registers then is seen, and a second backward through a graph finds its tensors.
    """
    import torch._dynamo.config as dynamo
    import torch._functorch.config as functorch

    for config, name in ((dynamo, "skip_nnmodule_hook_guards"), (functorch, "donated_buffer")):
        old = getattr(config, name)
        host.call(partial(setattr, config, name, False), partial(setattr, config, name, old))


def whole(root: nn.Module, call: Callable[..., Any], host: Host, mode: str | None, dynamic: bool) -> Callable[..., Any]:
    """The root's call, compiled; a failure is told if no graph came of it, for Dynamo would not say."""
    from torch._dynamo.utils import counters

    _serve_later_phases(host)
    compiled = torch.compile(call, mode=mode, dynamic=dynamic)
    checked: list[bool] = []

    def compiled_call(*args: Any, **kwargs: Any) -> Any:
        out = compiled(*args, **kwargs)
        if mode == GRAPHS:  # its memory is written anew by the next call, and the script may keep the answers
            out = mapped(out, torch.clone)
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
    blocks = rewritable(root)
    if not blocks:
        host.failed("compile", f"{type(root).__name__} repeats no block")
    _serve_later_phases(host)
    run = torch.compile(lambda block, *args, **kwargs: block._call_impl(*args, **kwargs))
    return rewritten(call, host, blocks, run)
