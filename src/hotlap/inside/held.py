"""What holds the memory of a training step, by name, and the most that one step needs."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from hotlap.inside.calls import tensors_in
from hotlap.inside.owners import LOSS, Owners, bytes_of
from hotlap.inside.process import forget_peak, resident
from hotlap.inside.tracer import Tracer

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

HELD_STEP = 8
PEAK_STEPS = range(9, 13)
"""Run as they are; the most memory that they need is the step's peak."""


_C: Any = torch._C
_PLAIN = (torch.Tensor, torch.nn.Parameter)  # subclasses may hold nothing, as those that the compiler keeps


@dataclass
class Moment:
    """What is held at one moment [bytes]; each storage counts once, by the first of these that holds it."""

    parameters: int = 0
    """With buffers."""
    gradients: int = 0
    optimizer_state: int = 0
    activations: int = 0
    """Kept by the graph for the backward."""
    kept: int = 0
    """Other tensors that the script can still reach: data sets, batches."""
    kept_largest: list[tuple[list[int], str, int]] = field(default_factory=list)
    """Of those the largest: shape, dtype, bytes."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.gradients + self.optimizer_state + self.activations + self.kept


@dataclass
class Seen:
    """What the trial writes down."""

    device: str = "cpu"
    imported_bytes: int = 0
    """Resident right after torch was imported; 0 on a device."""
    backward: Moment | None = None
    """When the backward begins."""
    update: Moment | None = None
    """When the optimizer steps."""
    peak_bytes: int = 0
    """The most that the training process, or the device, held during a few steps; 0 when it was not seen."""
    of_a_step: bool = False
    """The peak is that of steps, and not of the process since it was started."""
    state: dict[str, int] = field(default_factory=dict)
    """Optimizer state by its name in torch."""
    saved_by_loss: int = 0


class Held:
    """Looks at one step's memory, and at the peak of the few after it."""

    def __init__(self, host: Host, recorder: Recorder, owners: Owners, tracer: Tracer) -> None:
        self.seen = Seen()
        self._host = host
        self._recorder = recorder
        self._owners = owners
        self._tracer = tracer
        self._saved: dict[int, tuple[int, int]] = {}
        """Storage to its bytes and the owner that kept it first."""
        self._hooked = False

    def install(self) -> None:
        """Note what is resident before the script does anything."""
        self.seen.imported_bytes = resident()[0]
        self._tracer.on_backward.append(self._at_backward)

    def begin(self, step: int) -> None:
        """A step begins."""
        if step == HELD_STEP:
            self._saved.clear()
            _C._autograd._push_saved_tensors_default_hooks(self._pack, _as_it_is)
            self._hooked = True
            self._recorder.on_optimizer_start.append(self._at_update)
        elif step == PEAK_STEPS.start:
            self._reset_peak()

    def end_of(self, step: int) -> None:
        """A step ended."""
        if step == HELD_STEP:
            self._unhook()
            self._recorder.on_optimizer_start.remove(self._at_update)
            self._saved.clear()
        elif step in PEAK_STEPS:
            self._read_peak()

    def forget(self) -> None:
        """What was looked at were not the steps."""
        self.seen.backward = self.seen.update = None
        for row in self._owners.rows:
            row.gradient_bytes = row.saved_bytes = 0

    # -- the peak

    def _reset_peak(self) -> None:
        if torch.cuda.is_initialized():
            self.seen.device, self.seen.imported_bytes = torch.cuda.get_device_name(), 0
            torch.cuda.reset_peak_memory_stats()
            self.seen.of_a_step = True
            return
        self.seen.of_a_step = forget_peak()

    def _read_peak(self) -> None:
        on_device = self.seen.device != "cpu"
        self.seen.peak_bytes = torch.cuda.max_memory_allocated() if on_device else resident()[1]

    # -- what is held

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        with contextlib.suppress(Exception):
            self._saved.setdefault(*_stored(tensor, self._tracer.current or LOSS))
        return tensor

    def _unhook(self) -> None:
        if not self._hooked:
            return
        top = _C._autograd._top_saved_tensors_default_hooks(True)
        if top is not None and top[0] == self._pack:
            _C._autograd._pop_saved_tensors_default_hooks()
            self._hooked = False

    def _at_backward(self) -> None:
        if not self._hooked or self.seen.backward is not None:
            return
        self._unhook()
        self.seen.backward = self._look(self._saved)

    def _at_update(self, optimizer: Any) -> None:
        if self.seen.update is None:
            self.seen.update = self._look({})

    def _look(self, saved: dict[int, tuple[int, int]]) -> Moment:
        moment, known = Moment(), set[int]()
        rows = self._owners.rows
        for module, place in self._owners.modules:
            own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            rows[place].parameter_bytes = _new_bytes(own, known)
            moment.parameters += rows[place].parameter_bytes
        optimizers = self._recorder.optimizers
        owned = [p for o in optimizers for group in o.param_groups for p in group["params"]]
        moment.parameters += _new_bytes(owned, known)
        for module, place in self._owners.modules:
            found = _new_bytes((p.grad for p in module.parameters(recurse=False)), known)
            rows[place].gradient_bytes = max(rows[place].gradient_bytes, found)
            moment.gradients += found
        moment.gradients += _new_bytes((p.grad for p in owned), known)
        moment.optimizer_state = self._state(known)
        fresh = {storage: kept for storage, kept in saved.items() if storage not in known}
        for storage, (size, owner) in fresh.items():
            moment.activations += size
            rows[owner].saved_bytes += size
            known.add(storage)
        kept = _reachable(known)
        moment.kept = sum(size for _, _, size in kept)
        moment.kept_largest = kept[:3]
        return moment

    def _state(self, known: set[int]) -> int:
        """Bytes of optimizer state, also written to the modules' rows and by name."""
        of = {id(p): place for module, place in self._owners.modules for p in module.parameters(recurse=False)}
        by_row: dict[int, int] = {}
        by_name: dict[str, int] = {}
        for optimizer in self._recorder.optimizers:
            for parameter, state in optimizer.state.items():
                for name, value in state.items() if isinstance(state, dict) else ():
                    size = _new_bytes(tensors_in([value]), known)
                    by_name[str(name)] = by_name.get(str(name), 0) + size
                    if id(parameter) in of:
                        by_row[of[id(parameter)]] = by_row.get(of[id(parameter)], 0) + size
        for place, size in by_row.items():
            self._owners.rows[place].state_bytes = size
        self.seen.state = {name: size for name, size in by_name.items() if size}
        return sum(by_name.values())


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _stored(tensor: torch.Tensor, owner: int) -> tuple[int, tuple[int, int]]:
    storage = tensor.untyped_storage()
    return storage.data_ptr(), (storage.nbytes(), owner)


def _new_bytes(tensors: Iterable[torch.Tensor | None], known: set[int]) -> int:
    """Bytes of the storages that are not known yet, which are known from then on."""
    found = 0
    for tensor in tensors:
        if tensor is None:
            continue
        try:
            storage, (size, _) = _stored(tensor, 0)
        except (RuntimeError, NotImplementedError):
            found += bytes_of(tensor)
            continue
        if storage and storage not in known:
            known.add(storage)
            found += size
    return found


def _reachable(known: set[int]) -> list[tuple[list[int], str, int]]:
    """Tensors that Python can reach and that are not known, the largest first."""
    found: list[tuple[list[int], str, int]] = []
    where = "cuda" if torch.cuda.is_initialized() else "cpu"
    for thing in gc.get_objects():
        if type(thing) in _PLAIN and thing.device.type == where:
            with contextlib.suppress(Exception):
                if size := _new_bytes([thing], known):
                    found.append((list(thing.shape), str(thing.dtype)[6:], size))
    return sorted(found, key=lambda item: -item[2])
