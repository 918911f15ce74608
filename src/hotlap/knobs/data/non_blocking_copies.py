"""Copies to the device that the host does not wait for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class NonBlockingCopies(Knob):
    """Let the host go on while a batch is being copied to the device.

    ## What it changes
    `batch.to(device)` and `batch.cuda()` of tensors on the host behave as with `non_blocking=True`, from page-locked
    memory: what does not lie there is copied there first. Copies back to the host stay as written: to read those too
    early would be a fault. `side-stream` sends them on a stream of their own, which the training's stream waits for.
    ## Why it can help
    From ordinary memory the host waits in each copy until the device has done all that it was given before; from
    page-locked memory the copy runs by itself, and the host launches the next kernels meanwhile. On a stream of its own
    it also runs beside the kernels of the step before, where the host is ahead of the device.
    ## When it cannot
    No CUDA device, no copies in the steps, or a script that pins a batch itself and writes into it after it was sent;
    `side-stream` also not where it sends back what the device is still copying into page-locked memory.
    ## Source
    PyTorch tutorial "A guide on good usage of non_blocking and pin_memory()"; documentation of CUDA semantics, "CUDA
    streams", and of `Tensor.record_stream`.
    """

    id: ClassVar[str] = "non-blocking-copies"
    area: ClassVar[str] = "data"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.ANY
    allowed: ClassVar[tuple[Value, ...] | range] = (True, "side-stream")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for trainings on CUDA that load batches."""
        if not facts.is_cuda:
            return Skip("there is no CUDA device to copy to")
        if not any(loader.trains for loader in facts.loaders):
            return Skip("no DataLoader feeds the training")
        return (True, "side-stream")

    def install(self, value: Value, host: Host) -> None:
        """Add the argument where the script left it out and the way is from the host to a device."""
        import torch

        from hotlap.inside.copies import aside, is_device, pinned

        def send(original: Callable[..., Any], tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            copy = functools.partial(original, pinned(tensor), *args, non_blocking=True, **kwargs)
            return aside(copy, args[0] if args else kwargs.get("device")) if value == "side-stream" else copy()

        def sending(original: Callable[..., Any]) -> Callable[..., Any]:
            def to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
                if len(args) == 1 and not kwargs and is_device(args[0]) and tensor.device.type == "cpu":
                    return send(original, tensor, *args)
                return original(tensor, *args, **kwargs)

            return to

        def moving(original: Callable[..., Any]) -> Callable[..., Any]:
            def cuda(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
                if len(args) > 1 or "non_blocking" in kwargs or not tensor.is_cpu:
                    return original(tensor, *args, **kwargs)
                return send(original, tensor, *args, **kwargs)

            return cuda

        host.wrap(torch.Tensor, "to", sending)
        host.wrap(torch.Tensor, "cuda", moving)

    def switches(self, facts: Facts) -> bool:
        """Each copy decides for itself."""
        return True
