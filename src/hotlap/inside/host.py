"""The only place that changes other people's modules, classes and objects, and that can undo every change.

Knobs, probes and the recorder ask the host; what they may ask for is what this class offers.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data._utils.fetch import _MapDatasetFetcher

from hotlap.inside.loaders import Loaders
from hotlap.inside.roots import Roots

if TYPE_CHECKING:
    from hotlap.inside.journal import Journal

_ABSENT = object()


class Host:
    """Every patch in one process.

    Args:
        journal: Where failures and remarks go.
        task: What this process is to do, see `hotlap.trials.task`.
    """

    def __init__(self, journal: Journal, task: dict[str, Any]) -> None:
        self.journal = journal
        self.task = task
        self.roots = Roots(self)
        self.loaders = Loaders(self)
        self._undo: list[Callable[[], Any]] = []
        self._first_step: list[Callable[[torch.optim.Optimizer], None]] = []
        self._stepped: WeakSet[torch.optim.Optimizer] = WeakSet()  # by id, a later one would pass for an earlier
        self.failures: dict[str, str] = {}
        """Knobs that could not take hold, with the reason."""

    # -- the primitive: set, and remember how to take it back

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Assign an attribute of a module, class or object, past any `__setattr__` of its own."""
        old = vars(owner).get(name, _ABSENT)
        assign = type.__setattr__ if isinstance(owner, type) else object.__setattr__
        assign(owner, name, value)

        def restore() -> None:
            if old is _ABSENT:
                (type.__delattr__ if isinstance(owner, type) else object.__delattr__)(owner, name)
            else:
                assign(owner, name, old)

        self._undo.append(restore)

    def become(self, thing: Any, kind: type) -> None:
        """Give an object another class of the same layout, for as long as it lives."""
        own, alive = type(thing), ref(thing)
        thing.__class__ = kind

        def restore() -> None:
            if (living := alive()) is not None:
                living.__class__ = own

        self._undo.append(restore)

    def resize(self, loader: Any, size: int) -> None:
        """Let a DataLoader with torch's own BatchSampler make batches of so many samples, and tell of itself so."""
        for thing in (loader.batch_sampler, loader):
            if thing.batch_size is not None:  # the loader's is, where the script passed the sampler
                self._set_while_alive(thing, "batch_size", size)

    def _set_while_alive(self, thing: Any, name: str, value: Any) -> None:
        """As `set`, without keeping the object: a script may build one for every epoch."""
        old, alive = getattr(thing, name), ref(thing)
        object.__setattr__(thing, name, value)

        def restore() -> None:
            if (living := alive()) is not None:
                object.__setattr__(living, name, old)

        self._undo.append(restore)

    def wrap(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace a function by `make(function)`, under the same name and signature."""
        original = getattr(owner, name)
        self.set(owner, name, functools.wraps(original)(make(original)))

    def call(self, change: Callable[[], Any], take_back: Callable[[], Any]) -> None:
        """Make a change that is a call (a flag of a library, a hook), with the call that takes it back."""
        change()
        self._undo.append(take_back)

    def apart(self) -> Host:
        """A host of the same process whose changes can be undone without the others."""
        twin = copy.copy(self)
        twin._undo, twin._first_step, twin._stepped = [], [], WeakSet()
        return twin

    def undo(self) -> None:
        """Take back every change, last first."""
        while self._undo:
            self._undo.pop()()
        self._first_step.clear()

    # -- what knobs ask for

    def before_first_step(self, act: Callable[[torch.optim.Optimizer], None]) -> None:
        """Call `act` with each optimizer right before its first step."""
        if not self._first_step:
            handle = register_optimizer_step_pre_hook(self._before_step)
            self._undo.append(handle.remove)
        self._first_step.append(act)

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer in self._stepped:
            return
        self._stepped.add(optimizer)
        for act in self._first_step:
            self.guarded("first step", lambda act=act: act(optimizer))

    def rewrite_roots(
        self, layer: Callable[[torch.nn.Module, Callable[..., Any]], Callable[..., Any]], order: int
    ) -> None:
        """Put a layer around every root's call, for training with gradients only.

        Args:
            layer: From the root and the call below to the call that takes its place; asked at the first such call.
            order: The lower, the closer to the module (compile 0, autocast 10, layout 20).
        """
        self.call(lambda: self.roots.rewrite(layer, order), lambda: self.roots.unwrite(layer))

    def pack_what_is_saved(self) -> None:
        """Let safetensors save tensors that lie otherwise in memory, which it refuses: as the same packed ones."""
        if find_spec("safetensors") is None:  # the script's environment has it, or nobody saves by it
            return
        saving = import_module("safetensors.torch")

        def packing(original: Callable[..., Any]) -> Callable[..., Any]:
            def save(tensors: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
                return original({name: tensor.contiguous() for name, tensor in tensors.items()}, *args, **kwargs)

            return save

        for name in ("save", "save_file"):
            if hasattr(saving, name):  # it may be what imports torch just now
                self.wrap(saving, name, packing)

    def allow_copying_views(self) -> None:
        """Let `x.view(-1, 128 * 7 * 7)`, as tutorials write it, copy where another layout has no such view.

        Only while a root is being called: elsewhere a write through such a copy would be lost without a word.
        """
        depth = [0]

        def layer(root: torch.nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
            def inside(*args: Any, **kwargs: Any) -> Any:
                depth[0] += 1
                try:
                    return call(*args, **kwargs)
                finally:
                    depth[0] -= 1

            return inside

        def tolerant(original: Callable[..., Any]) -> Callable[..., Any]:
            def view(tensor: torch.Tensor, *shape: Any, **kwargs: Any) -> torch.Tensor:
                if not depth[0] or kwargs or isinstance(shape[0], torch.dtype):
                    return original(tensor, *shape, **kwargs)
                return tensor.reshape(*shape)

            return view

        self.call(lambda: self.roots.observe(layer), lambda: self.roots.unobserve(layer))
        self.wrap(torch.Tensor, "view", tolerant)

    def refetch(self, change: Callable[[Any, Any, Callable[[Any, Any], Any]], Any]) -> None:
        """Take `change(fetcher, indices, stock)` for each batch of a map-style dataset; `stock(...)` is torch's own."""

        def fetch(original: Callable[..., Any]) -> Callable[..., Any]:
            def fetch(fetcher: Any, possibly_batched_index: Any) -> Any:
                return change(fetcher, possibly_batched_index, original)

            return fetch

        self.wrap(_MapDatasetFetcher, "fetch", fetch)

    def override_loaders(self, **attributes: Any) -> None:
        """Let every DataLoader iterate as if it had these attributes; its own stay the user's."""
        self.loaders.override(attributes)

    # -- failures

    def guarded(self, what: str, act: Callable[[], Any]) -> None:
        """Act; a failure costs the knob or probe, never the user's run."""
        try:
            act()
        except Exception as error:
            self.journal.write("failed", what=what, reason=f"{type(error).__name__}: {error}")
            print(f"hotlap: {what} failed and is left out: {error!r}", file=sys.stderr)

    def failed(self, knob: str, reason: str) -> None:
        """A knob found out later that it could not take hold."""
        self.failures[knob] = reason
        self.journal.write("knob-failed", knob=knob, reason=reason)
        print(f"hotlap: {knob} could not be applied, so the script runs without it: {reason}", file=sys.stderr)

    def remark(self, text: str) -> None:
        """Something the user should know, once."""
        self.journal.write("remark", text=text)
        print(f"hotlap: {text}", file=sys.stderr)
