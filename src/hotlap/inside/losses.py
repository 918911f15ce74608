"""Losses as the backward sees them, kept without waiting for a device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class Losses:
    """The losses of each step since the last reading.

    Attributes:
        scaled: Whether a gradient scaler was in use.
    """

    def __init__(self) -> None:
        self.scaled = False
        self._now: list[torch.Tensor | float] = []
        self._steps: list[list[torch.Tensor | float]] = []
        self._pair: tuple[ref[torch.Tensor], torch.Tensor] | None = None

    def install(self, host: Host) -> None:
        """Remember what a gradient scaler makes of a loss: the loss itself is recorded."""
        host.wrap(torch.amp.GradScaler, "scale", self._scale)

    def _scale(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def scale(scaler: Any, outputs: Any) -> Any:
            scaled = original(scaler, outputs)
            if isinstance(outputs, torch.Tensor) and scaled is not outputs:
                self.scaled = True
                self._pair = (ref(scaled), outputs.detach())
            return scaled

        return scale

    def note(self, outputs: Any) -> None:
        """A backward started at these."""
        pair, self._pair = self._pair, None
        if len(outputs) == 1 and isinstance(outputs[0], torch.Tensor) and outputs[0].numel() == 1:
            loss = pair[1] if pair and pair[0]() is outputs[0] else outputs[0]
            try:
                # Reading at once is the cheapest on a CPU, and would wait for a device.
                self._now.append(loss.item() if loss.is_cpu else loss.detach())
            except RuntimeError:
                pass  # a tensor under a transform of torch.func has no value of its own

    def end_step(self) -> None:
        """What was noted since the last step are this step's."""
        self._steps.append(self._now)
        self._now = []

    def clear(self) -> None:
        """The steps so far were none."""
        self._steps.clear()

    @property
    def on_device(self) -> bool:
        """Whether reading would wait for a device."""
        return any(isinstance(loss, torch.Tensor) for step in self._steps[:1] for loss in step)

    def read(self) -> list[float | None]:
        """Mean loss of each step since the last reading."""
        steps, self._steps = self._steps, []
        return [_mean(step) for step in steps]


def _mean(losses: list[torch.Tensor | float]) -> float | None:
    """None when there is no number; the journal holds what JSON can say."""
    try:
        return math.fsum(map(float, losses)) / len(losses) if losses else None
    except (RuntimeError, TypeError, ValueError, OverflowError):
        return None
