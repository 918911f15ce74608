"""Copies from the host to another device, seen where scripts ask for them, and on a stream of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
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


def is_device(target: Any) -> bool:
    """Whether `to(target)` names another device: "cuda", 0, torch.device("cuda:1")."""
    return isinstance(target, int) or str(getattr(target, "type", target)).startswith("cuda")


def pinned(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, in page-locked memory if it is a plain one; torch keeps that until the device has read it."""
    plain = tensor.layout is torch.strided and not tensor.requires_grad
    return tensor.pin_memory() if plain and not tensor.is_pinned() else tensor


@cache
def _side_stream(device: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def aside(copy: Callable[[], torch.Tensor], device: Any) -> torch.Tensor:
    """What `copy()` gives, copied from page-locked memory on a stream of its own.

    The stream that the script computes on waits for it, and keeps its memory from being used again too early.

    Args:
        copy: To the device.
        device: Which, as the script named it; None for the current one.
    """
    index = torch.cuda._utils._get_device_index(device, optional=True)
    current, side = torch.cuda.current_stream(index), _side_stream(index)
    with torch.cuda.stream(side):
        out = copy()
    current.wait_stream(side)
    out.record_stream(current)
    return out
