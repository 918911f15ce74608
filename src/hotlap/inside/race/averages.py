"""Schedule-free rules train one point and evaluate another: their engines are told which is wanted."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch

from hotlap.inside.race.engines import Engines

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class Averaging:
    """The engines that average, and the calls by which a script says what it is about to do."""

    def __init__(self) -> None:
        self._engines: WeakSet[Any] = WeakSet()
        self._depth = 0

    def install(self, host: Host) -> None:
        """Evaluate and save the average: follow `train()`, `eval()` and `torch.save`."""
        host.wrap(torch.nn.Module, "train", self._switching)
        host.wrap(torch, "save", self._saving)

    def follow(self, engines: Engines) -> None:
        """Switch these from now on."""
        self._engines.update(engine for engine in engines.optimizers if hasattr(engine, "train"))

    def _switching(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def train(module: torch.nn.Module, mode: bool = True) -> Any:
            self._depth += 1
            try:
                result = original(module, mode)
            finally:
                self._depth -= 1
            if not self._depth:  # the outermost call speaks for its children
                owned = {id(p) for p in module.parameters()}
                for engine in self._engines:
                    if any(id(p) in owned for p in engine.param_groups[0]["params"]):
                        _turn(engine, mode)
            return result

        return train

    def _saving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def save(*args: Any, **kwargs: Any) -> Any:
            with self.averaged():
                return original(*args, **kwargs)

        return save

    @contextmanager
    def averaged(self) -> Generator[None, None, None]:
        """With the weights that are meant for evaluation."""
        training = [engine for engine in self._engines if engine.param_groups[0]["train_mode"]]
        for engine in training:
            _turn(engine, False)
        try:
            yield
        finally:
            for engine in training:
                _turn(engine, True)


def _turn(engine: Any, training: bool) -> None:
    with torch.no_grad():
        engine.train() if training else engine.eval()


def ready(engines: Engines) -> None:
    """A script that steps without a `train()` after its `eval()` trains all the same."""
    for engine in engines.optimizers:
        if not engine.param_groups[0].get("train_mode", True):
            _turn(engine, True)
