"""Follows what modules put out to whoever reads it, modules and operations alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hotlap.inside.graph import readers

if TYPE_CHECKING:
    import torch
    from torch import nn


class Outputs:
    """Outputs of one step, by the name of the module that made each."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[str, torch.Tensor]] = {}
        self._read_by: dict[str, list[nn.Module]] = {}
        self._shared: set[str] = set()

    def add(self, name: str, out: torch.Tensor) -> None:
        """Follow this one."""
        self._made[id(out)] = name, out

    def read(self, module: nn.Module, given: Iterable[object]) -> None:
        """A module was called with these."""
        for one in given:
            if id(one) in self._made and self._made[id(one)][1] is one:
                self._read_by.setdefault(self._made[id(one)][0], []).append(module)

    def note_graph(self, ends: Iterable[torch.Tensor]) -> None:
        """The graph behind these tensors tells whether anything else reads an output as well."""
        counts = readers(ends) if self._made else {}
        self._shared.update(name for name, out in self._made.values() if counts.get(out.grad_fn, 0) > 1)

    def only_into(self, kind: type[nn.Module]) -> list[str]:
        """Names of the modules whose output goes into modules of this kind and nowhere else; lets go of all outputs."""
        self._made.clear()
        into = [name for name, by in self._read_by.items() if all(isinstance(module, kind) for module in by)]
        return [name for name in into if name not in self._shared]
