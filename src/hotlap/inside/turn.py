"""Waits before the first training call for this trial's turn: trials that start up together train one by one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from hotlap.inside.host import Host

GO = "go"
"""The file in the trial's folder that says so; its supervisor stops the whole trial until it is there."""
_LOOK_S = 0.05

waited_s = 0.0
"""How long this process has waited: no part of its start-up."""


def install(host: Host) -> None:
    """Wait in the first call of a root that trains, else in the first backward."""
    done: list[bool] = []
    place = os.path.join(os.environ["HOTLAP_JOURNAL"], GO)

    def wait() -> None:
        global waited_s
        if not done and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            done.append(True)
            waited_s = _wait(host, place)

    def layer(root: torch.nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            if not done and root.training:
                wait()
            return call(*args, **kwargs)

        return called

    def backward(original: Callable[..., Any]) -> Callable[..., Any]:
        def _engine_run_backward(*args: Any, **kwargs: Any) -> Any:
            wait()
            return original(*args, **kwargs)

        return _engine_run_backward

    host.roots.observe(layer)
    host.wrap(torch.autograd, "_engine_run_backward", backward)


def _wait(host: Host, place: str) -> float:
    began = time.monotonic()
    host.journal.write("waits")
    while not os.path.exists(place):
        time.sleep(_LOOK_S)
    return time.monotonic() - began
