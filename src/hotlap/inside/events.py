"""The event gate's inside half: per step, what the script did, in a form that two arms must agree on to the letter."""

from __future__ import annotations

import ctypes
import hashlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import clip_grad

from hotlap.inside.roots import tensors_in

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_NOT_HYPER = ("params", "fused", "foreach", "capturable", "differentiable", "param_names")


def digest(value: Any) -> str:
    """Hash of every tensor in a nest: dtype, shape and bytes, in order."""
    state = hashlib.blake2b(digest_size=12)
    for tensor in tensors_in(value):
        flat = tensor.detach().cpu().contiguous()
        state.update(f"{flat.dtype}{tuple(flat.shape)}".encode())
        if flat.numel():
            state.update(ctypes.string_at(flat.data_ptr(), flat.numel() * flat.element_size()))
    return state.hexdigest()


class Events:
    """Counts and hashes of the step under way, written at its end."""

    def __init__(self, host: Host, recorder: Recorder) -> None:
        self.host = host
        self.recorder = recorder
        self._counts: Counter[str] = Counter()
        self._batches: list[str] = []
        self._inputs: list[str] = []
        self._flags: list[str] = []
        self._hyper: list[Any] = []

    def install(self) -> None:
        """Hook what is counted; torch has just been imported, so `from torch.nn.utils import ...` is reached too."""
        for owner, name in (
            (torch.optim.Optimizer, "zero_grad"),
            (nn.Module, "zero_grad"),
            (nn.utils, "clip_grad_norm_"),
            (nn.utils, "clip_grad_value_"),
            (clip_grad, "clip_grad_norm_"),
            (torch.autograd, "_engine_run_backward"),
        ):
            self.host.wrap(owner, name, self._counted(name))
        self.host.loaders.serve(self._served)
        self.host.roots.observe(self._called)
        self.recorder.on_optimizer_step.append(self._stepped)
        self.recorder.on_end.append(self._write)

    def _counted(self, name: str) -> Callable[..., Any]:
        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **kwargs: Any) -> Any:
                if name != "_engine_run_backward" or kwargs.get("accumulate_grad"):  # tracing calls it without
                    self._counts[name] += 1
                return original(*args, **kwargs)

            return counted

        return make

    def _served(self, iterator: Any, batch: Any) -> Any:
        self._batches.append(digest(batch))
        return batch

    def _called(self, root: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            if not self._inputs:  # inputs of later calls may be another root's outputs
                self._inputs.append(digest((args, kwargs)))
            rates = [float(m.p) for m in root.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
            training = sum(m.training for m in root.modules())
            self._flags.append(f"{type(root).__name__} {training} {sum(rates):.6g} {torch.is_grad_enabled()}")
            return call(*args, **kwargs)

        return called

    def _stepped(self, optimizer: torch.optim.Optimizer) -> None:
        self._counts["step"] += 1
        for group in optimizer.param_groups:
            self._hyper.append({key: str(value) for key, value in group.items() if key not in _NOT_HYPER})

    def _write(self, index: int) -> None:
        # A loader's batches are hashed with their targets; where there is no loader the model's inputs stand in.
        inputs = [] if self._batches else self._inputs
        self.host.journal.write(
            "events",
            step=index,
            counts=dict(sorted(self._counts.items())),
            batches=self._batches + inputs,
            flags=self._flags,
            hyper=self._hyper,
        )
        self._counts.clear()
        self._batches, self._inputs, self._flags, self._hyper = [], [], [], []
