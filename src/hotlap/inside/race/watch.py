"""What a trial of the race looks at while the script trains, and when it ends itself early."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from hotlap.inside.race.refusals import CLOSURES
from hotlap.inside.race.settings import Rate
from hotlap.knobs import OPTIMIZER_RULE
from hotlap.records.race import DIVERGED, NON_FINITE, OUT_OF_TIME

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_NORM_EVERY = 10  # steps
_READ_EVERY = 16  # steps whose losses live on a device: reading waits for it
_WRITE_EVERY = 64  # changes of rates, or norms
_LONG = 5.0  # times the median step: evaluation, a new epoch, a checkpoint; no time of a training step


class RaceTrial:
    """Journals rates, gradient norms and the state's size, and ends the trial when it cannot win any more."""

    def __init__(self, host: Host, recorder: Recorder) -> None:
        self._host = host
        self._recorder = recorder
        self._clock = Clock(float(host.task["options"].get("cap_s") or 0.0))
        self._course = Course()
        self._losses: list[Any] = []
        self._rates: tuple[float, ...] = ()
        self._readers: list[Rate] = []
        self._changes: list[tuple[int, tuple[float, ...]]] = []
        self._norms: list[tuple[int, Any]] = []
        self._mode_calls = 0
        self._closures = False
        self._swaps = any(knob == OPTIMIZER_RULE for knob, _ in host.task["settings"])

    def install(self) -> None:
        """Hook the steps, and the calls that say what the script is about to do."""
        recorder = self._recorder
        recorder.on_optimizer_start.append(self._before)
        recorder.on_end.append(self._after)
        recorder.on_close.append(self._close)
        handle = register_optimizer_step_pre_hook(self._count_closures)
        self._host.call(lambda: None, handle.remove)
        self._host.wrap(torch.nn.Module, "train", self._watch_mode)

    # -- what is seen

    def _watch_mode(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def train(module: torch.nn.Module, mode: bool = True) -> Any:
            self._mode_calls += module.training is not mode
            return original(module, mode)

        return train

    def _count_closures(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        closure = args[1] if len(args) > 1 else kwargs.get("closure")  # the optimizer itself is the first
        if not callable(closure):
            return None
        calls: list[None] = []

        def counted() -> Any:
            calls.append(None)
            self._closures |= len(calls) > 1
            if self._swaps and self._closures and OPTIMIZER_RULE not in self._host.failures:
                self._host.failed(OPTIMIZER_RULE, CLOSURES)
            return closure()

        if len(args) > 1:
            return (optimizer, counted, *args[2:]), kwargs
        return args, {**kwargs, "closure": counted}

    def _before(self, optimizer: Any) -> None:
        """Take the norm of the gradients as the update will see them, while they are there."""
        main = self._recorder.main
        if self._recorder.index % _NORM_EVERY or (main is not None and optimizer is not main):
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if any(gradient.is_sparse for gradient in gradients) or not gradients:
            return
        norm = torch.nn.utils.get_total_norm(gradients)
        scale = getattr(optimizer, "grad_scale", None)  # a fused update unscales by itself
        self._norms.append((self._recorder.index, norm if scale is None else norm / scale))
        if len(self._norms) >= _WRITE_EVERY:
            self._write()

    def _after(self, step: int) -> None:
        self._note_rates(step)
        if OPTIMIZER_RULE in self._host.failures:
            self._end("script ended early", self._host.failures[OPTIMIZER_RULE])
            return
        if self._clock.is_over():
            self._kill("budget reached", OUT_OF_TIME)
            return
        self._losses += self._recorder.losses.latest()
        waits = any(isinstance(loss, torch.Tensor) for loss in self._losses)
        if not waits or step % _READ_EVERY == 0:
            losses, self._losses = _numbers(self._losses), []
            for loss in losses:
                if killed := self._course.add(loss):
                    self._kill("script ended early", killed)
                    return

    def _note_rates(self, step: int) -> None:
        main: Any = self._recorder.main
        if main is None:
            return
        swap: Any = getattr(main, "_swap", None)
        if swap is not None and swap.rates and not swap.is_plain:
            rates = swap.rates
        else:
            while len(self._readers) < len(main.param_groups):
                self._readers.append(Rate())
            rates = tuple(
                rate.read(group["lr"]) for rate, group in zip(self._readers, main.param_groups) if "lr" in group
            )
        if rates != self._rates:
            self._rates = rates
            self._changes.append((step, rates))
            if len(self._changes) >= _WRITE_EVERY:
                self._write()

    # -- what is written

    def _write(self, **more: Any) -> None:
        norms = [(step, _number(norm)) for step, norm in self._norms]
        self._host.journal.write("race", rates=self._changes, norms=norms, **more)
        self._changes, self._norms = [], []

    def _close(self) -> None:
        main: Any = self._recorder.main
        state = _bytes(list(main.state.values())) if main is not None else 0
        groups = main.param_groups if main is not None else []
        decay = max((float(group.get("weight_decay") or 0.0) for group in groups), default=0.0)
        own = {"weight_decay": decay, "momentum": _momentum(groups[0]) if groups else 0.0}
        self._write(state_bytes=state, mode_calls=self._mode_calls, closures=self._closures, **own)

    def _kill(self, outcome: str, why: str) -> None:
        self._host.journal.write("killed", why=why)
        self._end(outcome, why)

    def _end(self, outcome: str, reason: str) -> None:
        self._recorder.on_end.remove(self._after)  # another rank than the first goes on until it is ended
        self._recorder.end(outcome, reason)


class Clock:
    """Time in training steps since the first, with the long ones between (an evaluation) counted as usual steps.

    Args:
        cap_s: When it is over; 0 for never.
    """

    def __init__(self, cap_s: float) -> None:
        self._cap_s = cap_s
        self._spent_s = 0.0
        self._last_s: float | None = None
        self._steps: deque[float] = deque(maxlen=31)

    def is_over(self) -> bool:
        """A step has ended; whether the time is up."""
        now_s = perf_counter()
        taken_s, self._last_s = now_s - (self._last_s or now_s), now_s
        if not self._cap_s:
            return False
        if taken_s:
            self._steps.append(taken_s)
            self._spent_s += min(taken_s, _LONG * median(self._steps))
        return self._spent_s > self._cap_s


class Course:
    """Where the loss is going.

    A run has diverged when its smoothed loss was above 4 times its best, and above half of what it began with, for 20
    steps: a loss near 0 may well quadruple.
    """

    _KEPT, _FIRST, _TIMES, _STEPS = 0.9, 10, 4.0, 20

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0.0
        self._began = math.nan
        self._best = math.inf
        self._above = 0

    def add(self, loss: float | None) -> str:
        """One more; why the run is to end, or ""."""
        if loss is None:
            return ""
        if not math.isfinite(loss):
            return NON_FINITE
        self._count += 1
        self._sum = self._KEPT * self._sum + (1 - self._KEPT) * loss
        smooth = self._sum / (1 - self._KEPT**self._count)
        if self._count == self._FIRST:
            self._began = smooth
        self._best = min(self._best, smooth)
        is_above = self._count > self._FIRST and smooth > self._TIMES * self._best > 0 and smooth > self._began / 2
        self._above = self._above + 1 if is_above else 0
        return DIVERGED if self._above >= self._STEPS else ""


def _numbers(losses: list[Any]) -> list[float | None]:
    """The losses as numbers, with one wait for all that live on a device."""
    held = [loss for loss in losses if isinstance(loss, torch.Tensor)]
    read = iter(torch.stack([loss.reshape(()).float() for loss in held]).tolist() if held else [])
    return [next(read) if isinstance(loss, torch.Tensor) else loss for loss in losses]


def _number(norm: Any) -> float | None:
    value = float(norm)
    return value if math.isfinite(value) else None


def _momentum(group: dict[str, Any]) -> float:
    return float(group.get("momentum") or (group.get("betas") or (0.0,))[0])


def _bytes(state: Any) -> int:
    """Of all tensors in a nest."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        state = list(state.values())
    return sum(map(_bytes, state)) if isinstance(state, (list, tuple)) else 0
