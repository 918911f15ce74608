"""Calls of the roots: which belong to training, and how many samples a step takes from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch

from hotlap.inside.roots import tensors_in

if TYPE_CHECKING:
    from hotlap.inside.clock import Clock


class Calls:
    """The calls of the step under way; only the outermost counts, and only in the thread that trains."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: list[str] = []
        self._trained: WeakSet[torch.nn.Module] = WeakSet()
        self._samples: dict[int, list[int]] = {}
        self._doubtful: dict[int, list[int]] = {}

    @property
    def inside(self) -> bool:
        """Whether a root is being called."""
        return bool(self._open)

    def wrap(self, root: torch.nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        """The layer around a root's call."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.enter(root, args, kwargs)
            try:
                return call(*args, **kwargs)
            finally:
                self.leave()

        return timed

    def enter(self, root: torch.nn.Module, args: Any, kwargs: Any) -> None:
        """A root is being called."""
        if self._clock.foreign:
            return
        kind = self._kind(root)
        self._open.append(kind)
        if len(self._open) > 1:
            return  # part of the call of another root
        if kind == "forward":
            self._clock.enter("forward")
            self._trained.add(root)
            self._doubtful.clear()
        else:
            self._clock.enter_aside(kind)
        if torch.is_grad_enabled():
            counts = self._samples if kind == "forward" else self._doubtful
            _add(counts, {id(root): [1, _rows_in(args, kwargs)]})

    def _kind(self, root: torch.nn.Module) -> str:
        """Training, the evaluation of what trains, or neither for certain."""
        learned = not root.training and root in self._trained
        if torch.is_grad_enabled():
            return "doubt" if learned else "forward"
        return "evaluation" if learned else "helper"

    def leave(self) -> None:
        """The call returned or raised."""
        if self._clock.foreign or not self._open:
            return
        kind = self._open.pop()
        if not self._open:
            self._clock.leave("forward" if kind == "forward" else "aside")

    def learned_from(self) -> None:
        """A backward: what was called in evaluation mode, but with gradients, was training after all."""
        _add(self._samples, self._doubtful)
        self._doubtful.clear()

    def end_step(self) -> int:
        """Samples of the step: those of the root that it called least, as a GAN calls its critic more than once."""
        samples = min(self._samples.values(), key=lambda count: count[0], default=[0, 0])[1]
        self._samples, self._doubtful = {}, {}
        return samples


def _rows_in(args: Any, kwargs: Any) -> int:
    tensors = tensors_in(args) + tensors_in(kwargs)
    return next((tensor.shape[0] for tensor in tensors if tensor.dim()), 0)


def _add(to: dict[int, list[int]], more: dict[int, list[int]]) -> None:
    for root, (calls, samples) in more.items():
        known = to.setdefault(root, [0, 0])
        known[0] += calls
        known[1] += samples
