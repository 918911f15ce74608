"""A state that a script carries along: what a model gave in one step and is given, without its history, in the next.

It follows from the weights, so no two arms have it alike to the bit; like the weights, it is compared from the
reference's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from hotlap.inside.calls import tensors_in
from hotlap.knobs.nest import mapped

if TYPE_CHECKING:
    from hotlap.inside.steps import Recorder


class Carried:
    """Tells which inputs are a carried state, by the memory that they share with the last step's outputs."""

    def __init__(self, recorder: Recorder) -> None:
        self._given: list[torch.Tensor] = []  # kept, so that no other tensor can lie in their place
        self._places: set[int] = set()
        self._last: set[int] = set()
        self._kept: list[torch.Tensor] = []
        recorder.on_end.append(self._step_ended)

    def note(self, out: Any) -> None:
        """What a root gave in this step."""
        given = [tensor.detach() for tensor in tensors_in(out) if tensor.is_floating_point() and tensor.numel()]
        self._given += given
        self._places |= {tensor.untyped_storage().data_ptr() for tensor in given}  # now: a CUDA graph takes it back

    def _step_ended(self, index: int) -> None:
        self._kept, self._given = self._given, []
        self._last, self._places = self._places, set()

    def _is_carried(self, tensor: torch.Tensor) -> bool:
        return not tensor.requires_grad and tensor.untyped_storage().data_ptr() in self._last

    def of(self, nest: Any) -> list[torch.Tensor]:
        """The carried ones among these inputs."""
        return [tensor for tensor in tensors_in(nest) if self._is_carried(tensor)]

    def without(self, nest: Any) -> Any:
        """The same inputs, with nothing in their place."""
        return mapped(nest, lambda tensor: None if self._is_carried(tensor) else tensor)

    def put(self, nest: Any, saved: Sequence[torch.Tensor]) -> Any:
        """The same inputs with saved ones in their place, as far as they fit."""
        left = list(saved)

        def change(tensor: torch.Tensor) -> torch.Tensor:
            if not self._is_carried(tensor) or not left or left[0].shape != tensor.shape:
                return tensor
            return left.pop(0).to(tensor.device, tensor.dtype)

        return mapped(nest, change)
