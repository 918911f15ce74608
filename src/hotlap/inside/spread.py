"""The inside half of the stochastic gate: what the randomness inside the model does to its answers and gradients.

The exact gates switch dropout off. Here it stays on and the graph is the deployed one: one batch goes forward and
backward under several seeds, from the reference's weights, and what comes out is written down seed by seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hotlap.inside.calls import tensors_in
from hotlap.inside.optimizers import is_settled
from hotlap.inside.state import LearningState

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_SEEDS = 8


class SpreadProbe:
    """Runs the first training call of one step several times over, and leaves no trace in the training."""

    def __init__(self, host: Host, recorder: Recorder) -> None:
        options = host.task["options"]
        self.host = host
        self.recorder = recorder
        self.state = LearningState(host, recorder)
        self.step = int(options["probe"])
        self.path = os.path.join(options["reference"], f"step-{self.step}-rank-{os.environ.get('RANK', '0')}.pt")
        self._done = False

    def install(self) -> None:
        """Wait for the step."""
        self.host.roots.observe(self._called)

    def _called(self, root: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            due = self.recorder.index == self.step and is_settled(self.recorder.main, self.host.task["options"])
            if due and not self._done and root.training and torch.is_grad_enabled():
                self._done = True
                self.host.guarded("the stochastic gate", lambda: self._probe(root, call, args, kwargs))
            return call(*args, **kwargs)

        return called

    def _probe(self, root: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> None:
        saved = torch.load(self.path, weights_only=True, mmap=True)
        if self.host.task["options"].get("aligned"):
            self.state.align(saved["names"], saved["before"])
        self.state.load(saved["before"])
        generators = torch.get_rng_state(), _cuda_state()
        values: dict[str, list[float]] = {}
        parameters = {n: p for n, p in self.state.parameters().items() if p.requires_grad}
        for seed in range(_SEEDS):
            _set_seed(seed)
            answer = _scalar(call(*args, **kwargs))
            gradients: Any = torch.autograd.grad(answer, list(parameters.values()), allow_unused=True)
            values.setdefault("answer", []).append(float(answer))
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    norm = torch.linalg.vector_norm((gradient.to_dense() if gradient.is_sparse else gradient).double())
                    values.setdefault(name, []).append(float(norm))
        self.state.load(saved["before"])  # running statistics have moved
        torch.set_rng_state(generators[0])
        if generators[1] is not None:
            torch.cuda.set_rng_state(generators[1])
        self.host.journal.write("spread", values=values)


def _scalar(out: Any) -> torch.Tensor:
    """All that the model answers, weighted by fixed random numbers so that nothing cancels."""
    weights = torch.Generator().manual_seed(1)
    parts = [
        (tensor.float() * torch.randn(tensor.shape, generator=weights).to(tensor.device)).mean()
        for tensor in tensors_in(out)
        if tensor.is_floating_point() and tensor.requires_grad
    ]
    if not parts:
        raise ValueError("the model answers with no tensor that has a gradient")
    return torch.stack(parts).sum()


def _cuda_state() -> torch.Tensor | None:
    return torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None


def _set_seed(seed: int) -> None:
    """Past `torch.manual_seed`, into which the trial's own seed is mixed."""
    torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
    if torch.cuda.is_initialized():
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed)
