"""Copies from the host to another device, seen where scripts ask for them."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import torch

from hotlap import marks

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.tape import Tape


def install(host: Host, tape: Tape) -> None:
    """Mark the copies, on a machine that has a device to copy to."""
    if torch.accelerator.is_available():
        watch(host, tape)


def watch(host: Host, tape: Tape) -> None:
    """Mark every `to` and `cuda` that takes a tensor from the host to a device."""

    def copying(original: Callable[..., Any]) -> Callable[..., Any]:
        def copy(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling():
                return original(tensor, *args, **kwargs)
            began = perf_counter_ns()
            out = original(tensor, *args, **kwargs)
            if out is not tensor and out.device.type != "cpu" and tensor.device.type == "cpu":
                tape.mark(marks.COPY, began)
                tape.mark(marks.COPIED)
            return out

        return copy

    for name in ("to", "cuda"):
        host.wrap(torch.Tensor, name, copying)
