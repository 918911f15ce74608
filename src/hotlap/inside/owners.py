"""Whose work is under way: the modules of a training by name, and three owners that are no module."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from hotlap.inside.calls import tensors_in
from hotlap.inside.roots import class_name

ELSEWHERE, LOSS, OPTIMIZER = 0, 1, 2
NO_MODULE = ("elsewhere", "loss", "optimizer")


@dataclass
class Owner:
    """One row of the table, in the making."""

    root: int
    """Place of its root; -1 for what is no module's."""
    name: str
    """As the user names it below the root; "" for the root itself."""
    kind: str
    """Class name."""
    parameter_shapes: tuple[tuple[int, ...], ...] = ()
    input_shapes: tuple[tuple[int, ...], ...] = ()
    """Of its first call."""
    calls: int = 0
    """In the step whose operations were counted."""
    spent_ns: list[int] = field(default_factory=lambda: [0, 0])
    """Of this and of what follows: forward, backward."""
    flops: list[int] = field(default_factory=lambda: [0, 0])
    narrow_flops: list[int] = field(default_factory=lambda: [0, 0])
    """Those of them in 16 bits."""
    moved_bytes: list[int] = field(default_factory=lambda: [0, 0])
    parameter_bytes: int = 0
    gradient_bytes: int = 0
    state_bytes: int = 0
    saved_bytes: int = 0


class Owners:
    """Every owner; a module is known from its root's first call on.

    Attributes:
        rows: The owners, those that are no module first.
        roots: Class names of the roots.
        labels: The variables that the script calls them by; "" where that was not seen.
    """

    def __init__(self) -> None:
        self.rows = [Owner(-1, name, "") for name in NO_MODULE]
        self.roots: list[str] = []
        self.labels: list[str] = []
        self.modules: list[tuple[nn.Module, int]] = []
        """With their places; they are kept, so that none takes the identity of another."""
        self._place: dict[int, int] = {}

    def add_root(self, root: nn.Module) -> int:
        """Name a root and all below it; its place."""
        for name, module in root.named_modules():
            if id(module) not in self._place:
                shapes = tuple(tuple(p.shape) for p in module.parameters(recurse=False))
                self._place[id(module)] = len(self.rows)
                self.modules.append((module, len(self.rows)))
                self.rows.append(Owner(len(self.roots), name, type(module).__name__, shapes))
        self.roots.append(class_name(root))
        self.labels.append(_variable(root))
        return self._place[id(root)]

    def place(self, module: nn.Module) -> int | None:
        """Of a module; None for one that is not known."""
        return self._place.get(id(module))

    def forget_costs(self) -> None:
        """What was counted so far were not the steps."""
        for row in self.rows:
            row.calls = 0
            row.spent_ns, row.flops, row.narrow_flops, row.moved_bytes = [0, 0], [0, 0], [0, 0], [0, 0]

    def describe(self, place: int, args: Any) -> None:
        """Take down how a module is called, in the step whose operations are counted."""
        row = self.rows[place]
        row.calls += 1
        if not row.input_shapes:
            row.input_shapes = tuple(tuple(t.shape) for t in tensors_in(list(args)))


def _variable(root: nn.Module) -> str:
    """What the script calls a root by, where it calls it: a variable, or an attribute of `self`."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("torch", "hotlap"):
            known = dict(frame.f_locals)
            owner = known.pop("self", None)
            known |= getattr(owner, "__dict__", {})
            known |= owner._modules if isinstance(owner, nn.Module) else {}
            for name, value in known.items():
                if value is root:
                    return name
        frame = frame.f_back
    return ""


def bytes_of(tensor: torch.Tensor) -> int:
    """Of its elements, each counted once where a dimension is only expanded."""
    try:
        return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
    except (RuntimeError, NotImplementedError):  # a layout without one storage: sparse, nested
        return tensor.numel() * tensor.element_size()
