"""The event gate's inside half: per step, what the script did, in a form that two arms must agree on to the letter."""

from __future__ import annotations

import ctypes
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import clip_grad
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from hotlap.inside.carried import Carried
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_NOT_HYPER = ("params", "fused", "foreach", "capturable", "differentiable", "param_names")
_DEEPEST = 8  # levels of a nest; a batch that refers to itself must end


def digest(value: Any) -> str:
    """Hash of every tensor, array, number and text in a nest, in order; "" when there is nothing that can be read."""
    state = hashlib.blake2b(digest_size=12)
    return state.hexdigest() if _feed(state, value, _DEEPEST) else ""


def _feed(state: Any, value: Any, depth: int) -> bool:
    """Whether anything of the value went into the hash."""
    if isinstance(value, torch.Tensor):
        return _feed_tensor(state, value)
    if isinstance(value, (bool, int, float, complex, str, bytes)):
        state.update(repr(value).encode("utf-8", "replace"))
        return True
    if hasattr(value, "__array_interface__") and hasattr(value, "tobytes"):
        if value.dtype.hasobject:
            return depth > 0 and _feed(state, value.tolist(), depth - 1)
        state.update(f"{value.dtype}{tuple(value.shape)}".encode() + value.tobytes())
        return True
    if depth == 0 or isinstance(value, (type, nn.Module, FunctionType)):
        return False
    if isinstance(value, Mapping):
        return sum(_feed(state, item, depth - 1) for pair in value.items() for item in pair) > 0
    if isinstance(value, (list, tuple)):
        return sum(_feed(state, item, depth - 1) for item in value) > 0
    fields = getattr(value, "__dict__", None) or {
        name: getattr(value, name, None) for name in getattr(type(value), "__slots__", ())
    }
    return sum(_feed(state, fields[name], depth - 1) for name in sorted(fields)) > 0


def _feed_tensor(state: Any, tensor: torch.Tensor) -> bool:
    dense = tensor.detach() if tensor.layout is torch.strided else tensor.detach().to_dense()
    flat = dense.cpu().resolve_conj().resolve_neg().contiguous()
    state.update(f"{flat.dtype}{tuple(flat.shape)}".encode())
    if flat.numel():
        state.update(ctypes.string_at(flat.data_ptr(), flat.numel() * flat.element_size()))
    return True


class Events:
    """Counts and hashes of the step under way, written at its end."""

    def __init__(self, host: Host, recorder: Recorder, carried: Carried) -> None:
        self.host = host
        self.recorder = recorder
        self.carried = carried
        self._counts: Counter[str] = Counter()
        self._batches: list[str] = []
        self._inputs: list[str] = []
        self._flags: list[str] = []
        self._modules: list[int] = []
        self._hyper: list[Any] = []
        self._hashing = False

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
        self.host.wrap(DataLoader, "__iter__", self._outermost)
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

    def _outermost(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Hash what the script gets: at the first iteration every knob has been installed, so this comes outside."""

        def __iter__(loader: Any) -> Any:  # noqa: N807
            if not self._hashing:
                self._hashing = True
                self.host.loaders.serve(self._served)
            return original(loader)

        return __iter__

    def _served(self, iterator: Any, batch: Any) -> Any:
        self._batches.append(digest(batch))
        return batch

    def _called(self, root: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            if not self._inputs:  # inputs of later calls may be another root's outputs
                self._inputs.append(digest(self.carried.without((args, kwargs))))
            rates = [float(m.p) for m in root.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
            self._flags.append(f"{root.training} {sum(rates):.6g} {torch.is_grad_enabled()}")
            self._modules.append(sum(m.training for m in root.modules()))
            return call(*args, **kwargs)

        return called

    def _stepped(self, optimizer: torch.optim.Optimizer) -> None:
        self._counts["step"] += 1
        for group in optimizer.param_groups:
            self._hyper.append({key: str(value) for key, value in group.items() if key not in _NOT_HYPER})

    def _write(self, index: int) -> None:
        # A loader's batches are hashed with their targets; where there is none to read the model's inputs stand in.
        inputs = [] if self._batches and all(self._batches) else self._inputs
        self.host.journal.write(
            "events",
            step=index,
            counts=dict(sorted(self._counts.items())),
            batches=self._batches + inputs,
            flags=self._flags,
            modules=self._modules,
            hyper=self._hyper,
        )
        self._counts.clear()
        self._batches, self._inputs, self._flags, self._modules, self._hyper = [], [], [], [], []
