"""Everything that learns, by name: weights, buffers and optimizer state, to save, to load and to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hotlap.inside.optimizers import owned_by

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

Tensors = dict[str, torch.Tensor]


class LearningState:
    """Names are equal in all arms of a script: the number of the root and the name below it."""

    def __init__(self, host: Host, recorder: Recorder) -> None:
        self._host = host
        self._recorder = recorder
        self._theirs: dict[str, str] = {}

    def parameters(self) -> Tensors:
        """Trainable parameters of the roots and of the optimizers."""
        return {self._theirs.get(name, name): tensor for name, tensor in self._parameters().items()}

    def _parameters(self) -> Tensors:
        found: Tensors = {}
        known: set[int] = set()
        for number, root in enumerate(self._host.roots.attached):
            for name, parameter in root.named_parameters():
                if parameter.requires_grad and id(parameter) not in known:
                    known.add(id(parameter))
                    found[f"{number}.{name}" if number else name] = parameter
        for number, optimizer in enumerate(self._recorder.optimizers):
            for index, parameter in enumerate(owned_by(optimizer)):
                if id(parameter) not in known and isinstance(parameter, torch.Tensor):
                    known.add(id(parameter))
                    found[f"optimizer {number} parameter {index}"] = parameter
        return found

    def buffers(self) -> Tensors:
        """Buffers of the roots."""
        return {self._theirs.get(name, name): tensor for name, tensor in self._buffers().items()}

    def _buffers(self) -> Tensors:
        return {
            f"buffer {number}.{name}": buffer
            for number, root in enumerate(self._host.roots.attached)
            for name, buffer in root.named_buffers()
        }

    def checkpoint(self) -> list[str]:
        """What a checkpoint of roots and optimizers holds: names, shapes, types and options, without the numbers."""
        entries: list[str] = []
        for number, root in enumerate(self._host.roots.attached):
            entries += _entries(f"model {number}", root)
        for number, optimizer in enumerate(self._recorder.optimizers):
            entries += _entries(f"optimizer {number}", optimizer)
        return entries

    def optimizer_state(self) -> Tensors:
        """Tensors that the optimizers keep for each parameter."""
        names = {id(parameter): name for name, parameter in self.parameters().items()}
        return {
            f"{key} of {names.get(id(parameter), 'a parameter')} in optimizer {number}": value
            for number, optimizer in enumerate(self._recorder.optimizers)
            for parameter, state in optimizer.state.items()
            for key, value in _tensors(state)
        }

    def names(self) -> dict[str, list[str]]:
        """Names of the parameters and of the buffers, in order."""
        return {"parameters": list(self._parameters()), "buffers": list(self._buffers())}

    def align(self, names: dict[str, list[str]], saved: Tensors) -> None:
        """Take the reference's names in another version of the script, which may have its own.

        Tensors are the same by name, else by their place and shape among those that have no counterpart by name.
        """
        for kind, mine in (("parameters", self._parameters()), ("buffers", self._buffers())):
            theirs = [name for name in names[kind] if name not in mine]
            own = [name for name in mine if name not in names[kind]]
            if [saved[name].shape for name in theirs] == [mine[name].shape for name in own]:
                self._theirs.update(zip(own, theirs, strict=True))

    def all(self) -> Tensors:
        """Parameters, buffers and optimizer state."""
        return {**self.parameters(), **self.buffers(), **self.optimizer_state()}

    def snapshot(self) -> Tensors:
        """A copy of all of it, on the CPU."""
        return {name: copied(tensor) for name, tensor in self.all().items()}

    def gradients(self) -> Tensors:
        """A dense copy of every gradient that there is, on the CPU."""
        return {
            name: copied(parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad)
            for name, parameter in self.parameters().items()
            if parameter.grad is not None
        }

    def load(self, saved: Tensors) -> list[str]:
        """Copy a snapshot in; the names that have no counterpart of the same shape are returned."""
        mine = self.all()
        missing = [name for name in saved if name not in mine or mine[name].shape != saved[name].shape]
        with torch.no_grad():
            for name, tensor in mine.items():
                if name in saved and tensor.shape == saved[name].shape:
                    tensor.copy_(saved[name])
        return missing + [name for name in mine if name not in saved]

    def load_gradients(self, saved: Tensors) -> None:
        """Put these gradients in the place of one's own."""
        with torch.no_grad():
            for name, parameter in self.parameters().items():
                if name in saved and parameter.grad is not None:
                    sparse = parameter.grad.is_sparse
                    parameter.grad.copy_(saved[name].to_sparse(parameter.grad.sparse_dim()) if sparse else saved[name])


def _tensors(state: Any, key: str = "") -> list[tuple[str, torch.Tensor]]:
    """Tensors in one parameter's state with their names; L-BFGS keeps its history in lists."""
    if isinstance(state, torch.Tensor):
        return [(key, state)]
    if isinstance(state, dict):
        inner = {f"{key}.{name}" if key else f"{name}": value for name, value in state.items()}
        return [pair for name, value in inner.items() for pair in _tensors(value, name)]
    if isinstance(state, (list, tuple)):
        return [pair for place, value in enumerate(state) for pair in _tensors(value, f"{key}[{place}]")]
    return []


def copied(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU."""
    return tensor.detach().clone() if tensor.is_cpu else tensor.detach().cpu()


def compared(
    reference: Tensors, got: Tensors, base: Tensors | None = None, *, infinite: bool = False
) -> list[list[Any]]:
    """Per name: norm in the reference, norm here, norm of the difference, bits equal, norm of the base.

    Args:
        reference: What the untouched script has.
        got: The same here.
        base: What both started from; then changes since are compared instead of values.
        infinite: Elements that are not finite may stand in both alike (a mask in a model's answer).
    """
    rows: list[list[Any]] = []
    for name in reference:
        if name not in got or got[name].shape != reference[name].shape:
            rows.append([name, _norm(reference[name]), None, None, False, 0.0])
            continue
        ours, theirs = _where_fast(got[name]), _where_fast(reference[name])
        equal = torch.equal(ours, theirs)
        ours, theirs = ours.double(), theirs.double()
        known = base is not None and name in base and base[name].shape == ours.shape
        start = _where_fast(base[name]).double() if base is not None and known else None
        if start is not None:
            ours, theirs = ours - start, theirs - start
        if infinite and not equal:
            alike = ~ours.isfinite() & ((ours == theirs) | (ours.isnan() & theirs.isnan()))
            ours, theirs = ours.masked_fill(alike, 0), theirs.masked_fill(alike, 0)
        weight = _norm(start) if start is not None else 0.0
        rows.append([name, _norm(theirs), _norm(ours), _norm(ours - theirs), equal, weight])
    return rows + [[name, None, _norm(got[name]), None, False, 0.0] for name in got if name not in reference]


def _where_fast(tensor: torch.Tensor) -> torch.Tensor:
    """On the device, where one is in use: what is compared may be gigabytes."""
    return tensor.cuda() if torch.cuda.is_initialized() else tensor


def _norm(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.double()))


def _entries(owner: str, saved: Any) -> list[str]:
    """Of one `state_dict()`; one that raises must raise the same in every arm."""
    try:
        return [f"{owner}{entry}" for entry in _flat(saved.state_dict())]
    except Exception as error:
        return [f"{owner}: {type(error).__name__}"]


def _flat(value: Any) -> list[str]:
    if isinstance(value, torch.Tensor):
        return [f": {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"]
    if isinstance(value, dict):
        return [f" {key}{entry}" for key, item in value.items() for entry in _flat(item)]
    if isinstance(value, (list, tuple)):
        return [f" {place}{entry}" for place, item in enumerate(value) for entry in _flat(item)]
    # Only what prints the same in every process: a function's text holds its address.
    plain = value is None or isinstance(value, (bool, int, str))
    return [f": {value!r}"[:80] if plain else f": {type(value).__name__}"]
