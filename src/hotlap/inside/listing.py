"""Lists operations as torch dispatches them."""

from __future__ import annotations

from collections import Counter
from typing import Any
from weakref import ref

from torch.utils._python_dispatch import TorchDispatchMode

from hotlap.inside.calls import tensors_in
from hotlap.records.seen import Operation


class Listing(TorchDispatchMode):
    """A mode that counts the calls made under it.

    Attributes:
        calls: Of each distinct call, which is the fields of an `Operation`, how many there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[tuple[Any, ...]] = Counter()
        self._filled: dict[int, ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call, and write down what was called."""
        out = func(*args, **(kwargs or {}))
        given, made = tensors_in([*args, kwargs or {}]), tensors_in([out])
        name, both = func._overloadpacket.__name__, (*given, *made)
        if not given or name == "lift_fresh":  # torch.zeros and the like, or torch.tensor of a list
            self._filled.update({id(t): ref(t) for t in made})
        shapes = tuple(tuple(t.shape) for t in given), tuple(tuple(t.shape) for t in made)
        moved = 0 if func.is_view else sum(t.numel() * t.element_size() for t in both)
        self.calls[(name, *shapes, tuple(str(t.dtype)[6:] for t in both), moved, self._places(both))] += 1
        return out

    def served(self) -> None:
        """A loader hands over a batch: what was made up to here is data."""
        self._filled.clear()

    def operations(self) -> tuple[Operation, ...]:
        """What was called."""
        return tuple(
            Operation(name, inputs, outputs, dtypes, n, moved * n, places)
            for (name, inputs, outputs, dtypes, moved, places), n in self.calls.items()
        )

    def _places(self, tensors: tuple[Any, ...]) -> tuple[str, ...]:
        places = {t.device.type for t in tensors}
        return tuple(map(self._place, tensors)) if len(places) > 1 else tuple(places)

    def _place(self, tensor: Any) -> str:
        if tensor.device.type != "cpu":
            return tensor.device.type
        known = self._filled.get(id(tensor))
        return "made" if known and known() is tensor else "pinned" if tensor.is_pinned() else "cpu"
