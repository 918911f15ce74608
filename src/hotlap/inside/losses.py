"""Losses as the backward sees them, kept without waiting for a device."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch

if TYPE_CHECKING:
    from hotlap.inside.host import Host


END = None  # of a step, among its losses


class Losses:
    """The losses of each step since the last reading.

    Attributes:
        scaled: Whether a gradient scaler was in use.
        end_step: To be called with `END`: what was noted since the last step are this step's. It is called once in
            each step and so has no frame of its own.
    """

    def __init__(self) -> None:
        self.scaled = False
        self._values: list[torch.Tensor | float | None] = []
        self.end_step: Callable[[None], None] = self._values.append
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
        if len(outputs) != 1:
            return
        loss = outputs[0]
        if self._pair is not None:
            (scaled, unscaled), self._pair = self._pair, None
            loss = unscaled if scaled() is loss else loss
        try:
            if loss.is_cpu:
                self._values.append(loss.item())  # reading at once is the cheapest here; on a device it would wait
            elif loss.numel() == 1:
                kept = loss.detach()
                # What a CUDA graph gave lies in memory that its next replay writes to.
                self._values.append(kept.clone() if "torch._inductor.cudagraph_trees" in sys.modules else kept)
        except (AttributeError, RuntimeError):
            pass  # it is no tensor, has many values, or is under a transform of torch.func and has none of its own

    def latest(self) -> list[torch.Tensor | float | None]:
        """Those of the step that has just ended, not read yet where they live on a device."""
        ended = self._values[:-1]
        start = next((place + 1 for place in range(len(ended) - 1, -1, -1) if ended[place] is END), 0)
        return ended[start:]

    def clear(self) -> None:
        """The steps so far were none."""
        self._take()

    @property
    def on_device(self) -> bool:
        """Whether reading would wait for a device."""
        return any(isinstance(loss, torch.Tensor) for loss in takewhile(lambda loss: loss is not None, self._values))

    def read(self) -> list[float | None]:
        """Mean loss of each step since the last reading."""
        means: list[float | None] = []
        step: list[torch.Tensor | float] = []
        for value in self._take():
            if value is None:  # END
                means.append(_mean(step))
                step = []
            else:
                step.append(value)
        return means

    def _take(self) -> list[torch.Tensor | float | None]:
        """What was noted of the steps that have ended."""
        values = self._values
        ended = next((place for place in range(len(values), 0, -1) if values[place - 1] is None), 0)
        taken = values[:ended]
        del values[:ended]
        return taken


def _mean(losses: list[torch.Tensor | float]) -> float | None:
    """None when there is no number; the journal holds what JSON can say."""
    try:
        return math.fsum(map(float, losses)) / len(losses) if losses else None
    except (RuntimeError, TypeError, ValueError, OverflowError):
        return None


def is_loss(outputs: Any, args: tuple[Any, ...]) -> bool:
    """Whether `torch.autograd.grad` was asked for what a script that updates by hand would use."""
    creates_graph = len(args) > 2 and args[2]
    return len(outputs) == 1 and type(outputs[0]) is torch.Tensor and outputs[0].numel() == 1 and not creates_graph
