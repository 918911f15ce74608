"""Trainings that use their optimizer in every way that a swap must survive; each returns its losses.

They are written as scripts are, without a word of hotlap.
"""

from __future__ import annotations

import copy
import functools
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
import torch.optim as optim
from torch import nn
from torch.optim import SGD, lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook

Losses = list[float]
BATCHES = 6


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 1))


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(BATCHES, 8, 6, generator=generator)
    return [(x, x.sum(1, keepdim=True).tanh()) for x in inputs]


def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.mse_loss(model(x), y)


def train(model: nn.Module, optimizer: Any, after: Callable[[int], object] = lambda step: None) -> Losses:
    losses: Losses = []
    for step, (x, y) in enumerate(batches()):
        optimizer.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        optimizer.step()
        after(step)
        losses.append(loss.item())
    return losses


def import_styles() -> Losses:
    makers: list[Any] = [SGD, optim.Adam, torch.optim.RMSprop, getattr(torch.optim, "Adagrad")]  # noqa: B009
    makers.append(functools.partial(torch.optim.AdamW, weight_decay=0.1))
    losses: Losses = []
    for make in makers:
        model = network()
        losses += train(model, make(model.parameters(), lr=0.02))
    return losses


class Noting(SGD):
    """A subclass with a constructor, a step and attributes of its own."""

    def __init__(self, params: Any, *, lr: float, name: str) -> None:
        self.name = name
        super().__init__(params, lr=lr, momentum=0.9)
        self.taken = 0

    def step(self, closure: Any = None) -> Any:
        self.taken += 1
        return super().step(closure)


def subclass() -> Losses:
    model = network()
    optimizer = Noting(model.parameters(), lr=0.05, name="mine")
    losses = train(model, optimizer)
    assert isinstance(optimizer, SGD)
    assert type(optimizer).__name__ == "Noting"
    assert optimizer.name == "mine"
    return losses


class Sign(optim.Optimizer):
    """Third-party: nothing but the base class."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad.sign(), alpha=group["lr"])


def third_party() -> Losses:
    model = network()
    return train(model, Sign(model.parameters(), lr=0.01))


def group_ratios() -> Losses:
    model = network()
    groups = [
        {"params": model[0].parameters(), "lr": 0.001, "weight_decay": 0.0},
        {"params": model[2].parameters()},
        {"params": model[4].parameters(), "lr": 0.05, "betas": (0.8, 0.99)},
    ]
    optimizer = optim.AdamW(groups, lr=0.01, weight_decay=0.1)
    losses = train(model, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.001, 0.01, 0.05]
    return losses


def group_added_later() -> Losses:
    model = network()
    optimizer = optim.Adam(model[2:].parameters(), lr=0.01)

    def after(step: int) -> None:
        if step == 2:
            optimizer.add_param_group({"params": list(model[0].parameters()), "lr": 0.001})

    losses = train(model, optimizer, after)
    assert len(optimizer.param_groups) == 2
    return losses


def one_cycle() -> Losses:
    losses: Losses = []
    for make in (functools.partial(SGD, momentum=0.9), optim.Adam):
        model = network()
        optimizer = make(model.parameters(), lr=1.0)
        scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=BATCHES, cycle_momentum=True)
        losses += train(model, optimizer, lambda step, scheduler=scheduler: scheduler.step())
    return losses


def lambda_before_and_after() -> Losses:
    losses: Losses = []
    for late in (False, True):
        model = network()
        optimizer = SGD(model.parameters(), lr=0.1)
        if late:
            losses += train(model, optimizer)
        scheduler = lr_scheduler.LambdaLR(optimizer, lambda step: 0.8**step)
        losses += train(model, optimizer, lambda step, scheduler=scheduler: scheduler.step())
        assert optimizer.param_groups[0]["lr"] == 0.1 * 0.8**BATCHES
    return losses


def written_by_hand() -> Losses:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)

    def after(step: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (step + 2)

    return train(model, optimizer, after)


def built_with_zero() -> Losses:
    """As in warm-ups that write the rate before each step, the first of them included."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0)
    losses: Losses = []
    for step, (x, y) in enumerate(batches()):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (step + 1) / BATCHES
        optimizer.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def gradient_scaler() -> Losses:
    """With an overflow in the third step, whose update must be left out as a whole."""
    losses: Losses = []
    for fused in (False, True):
        model = network()
        optimizer = optim.AdamW(model.parameters(), lr=0.01, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
        for step, (x, y) in enumerate(batches()):
            optimizer.zero_grad()
            loss = loss_of(model, x, y)
            scaler.scale(loss).backward()
            if step == 2:
                model[0].weight.grad[0, 0] = float("inf")
                before = [p.detach().clone() for p in model.parameters()]
            scaler.step(optimizer)
            scaler.update()
            if step == 2:
                assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
            losses.append(loss.item())
    return losses


def closure_once() -> Losses:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    losses: Losses = []
    for x, y in batches():
        calls: list[int] = []

        def closure(x: torch.Tensor = x, y: torch.Tensor = y, calls: list[int] = calls) -> torch.Tensor:
            assert torch.is_grad_enabled()
            calls.append(1)
            optimizer.zero_grad()
            loss = loss_of(model, x, y)
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
        assert len(calls) == 1
    return losses


def resumed() -> Losses:
    """A checkpoint in the middle, loaded into a new model and a new optimizer."""
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    scheduler = lr_scheduler.StepLR(optimizer, 4, 0.5)
    losses = train(model, optimizer, lambda step: scheduler.step())
    file = io.BytesIO()
    model.eval()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    model.train()
    ahead = train(model, optimizer)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    model = network()
    model.load_state_dict(saved["model"])
    optimizer = optim.Adam(model.parameters(), lr=0.5)
    optimizer.load_state_dict(saved["optimizer"])
    model.train()
    assert train(model, optimizer) == ahead
    return losses + ahead


def several_in_turn() -> Losses:
    """One after another, as in folds, and none comes back."""
    losses: Losses = []
    for fold in range(3):
        model = network()
        losses += train(model, SGD(model.parameters(), lr=0.1 / (fold + 1), momentum=0.5))
    return losses


def copied_and_pickled() -> Losses:
    losses: Losses = []
    for twin in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        model = network()
        optimizer = optim.AdamW(model.parameters(), lr=0.02)
        losses += train(model, optimizer)
        copied_model, copied = twin((model, optimizer))
        ahead = train(model, optimizer)
        assert type(copied).__name__ == "AdamW"
        assert train(copied_model, copied) == ahead
        losses += ahead
    return losses


def unfrozen_later() -> Losses:
    model = network()
    model[0].requires_grad_(False)
    optimizer = optim.Adam(model.parameters(), lr=0.02)

    def after(step: int) -> None:
        if step == 2:
            model[0].requires_grad_(True)

    return train(model, optimizer, after)


def hooked_and_clipped() -> Losses:
    """The script's own hooks around a step run once per step, global ones as well."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    seen: list[str] = []
    hooks = [
        optimizer.register_step_pre_hook(lambda *_: seen.append("before")),
        register_optimizer_step_post_hook(lambda *_: seen.append("after")),
    ]
    losses: Losses = []
    for x, y in batches():
        optimizer.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        losses.append(loss.item())
    for hook in hooks:
        hook.remove()
    assert seen == ["before", "after"] * BATCHES
    return losses


SCRIPTS: dict[str, Callable[[], Losses]] = {
    script.__name__: script
    for script in (
        *(import_styles, subclass, third_party, group_ratios, group_added_later, one_cycle, lambda_before_and_after),
        *(written_by_hand, built_with_zero, gradient_scaler, closure_once, resumed, several_in_turn),
        *(copied_and_pickled, unfrozen_later, hooked_and_clipped),
    )
}
