"""Which optimizer's step ends a step: the one that owns most parameters.

Optimizers are held weakly: scripts build them per fold, per epoch, per image, and theirs is the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary, ref

import torch


def owned_by(optimizer: torch.optim.Optimizer) -> list[Any]:
    """The parameters of an optimizer, in order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def parameters_of(optimizer: torch.optim.Optimizer) -> int:
    """Numbers that an optimizer owns."""
    return sum(p.numel() for p in owned_by(optimizer))


def is_settled(main: torch.optim.Optimizer | None, options: Mapping[str, Any]) -> bool:
    """Whether no larger optimizer will turn out to be the main one, by what a trial's options say of its size."""
    return "main" not in options or main is None or parameters_of(main) >= int(options["main"])


class Optimizers:
    """Every optimizer of the process, and the main one among them.

    Attributes:
        steps: Steps that the main optimizers have taken.
        none_yet: No optimizer was ever built: the script updates its weights by hand.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.none_yet = True
        self._alive: WeakValueDictionary[int, torch.optim.Optimizer] = WeakValueDictionary()
        self._count = 0
        self._built_at: dict[int, int] = {}
        self._have_stepped: set[int] = set()
        self.main_alive: Callable[[], torch.optim.Optimizer | None] = lambda: None
        self._largest = 0
        self._accumulates = False

    @property
    def alive(self) -> list[torch.optim.Optimizer]:
        """In the order of their construction."""
        return [optimizer for _, optimizer in sorted(self._alive.items())]

    @property
    def have_stepped(self) -> list[torch.optim.Optimizer]:
        """Those alive that have stepped, in the order of their construction."""
        return [optimizer for number, optimizer in sorted(self._alive.items()) if number in self._have_stepped]

    @property
    def main(self) -> torch.optim.Optimizer | None:
        """The one whose step ends a step; None until one has stepped, and when it is gone."""
        return self.main_alive()

    def by_hand(self, accumulates: bool) -> bool:
        """Whether a backward of this kind is the one that ends a step."""
        self._accumulates |= accumulates
        return accumulates or not self._accumulates

    def built(self, optimizer: torch.optim.Optimizer) -> int:
        """A new one; its number."""
        self._count += 1
        self.none_yet = False
        self._alive[self._count] = optimizer
        self._built_at[self._count] = self.steps
        return self._count

    def stepped(self, optimizer: torch.optim.Optimizer) -> bool:
        """It has stepped; whether the steps counted so far were those of a smaller one."""
        main = self.main
        number = next((n for n, known in self._alive.items() if known is optimizer), 0) or self.built(optimizer)
        first = number not in self._have_stepped
        self._have_stepped.add(number)
        larger = self._consider(optimizer, number, first, main)
        if optimizer is self.main:
            self.steps += 1
        return larger

    def _consider(
        self, optimizer: torch.optim.Optimizer, number: int, first: bool, main: torch.optim.Optimizer | None
    ) -> bool:
        size = parameters_of(optimizer) if first or main is None else 0
        if first and size > self._largest:
            larger = self._largest > 0
            self.main_alive, self._largest = ref(optimizer), size
            return larger
        # Another fold or epoch: as large, and built after the main one had stepped for the last time.
        follows = first and size == self._largest and self._built_at[number] == self.steps
        if main is None or follows:
            self.main_alive = ref(optimizer)
        return False
