"""What does the update: each rule is its library's own, and every one learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_optimizer
import torch
from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

from hotlap.inside.host import Host
from hotlap.inside.race import muon
from hotlap.inside.race.muon import Muon
from hotlap.race.rules import RULES

Swapped = Callable[[str], Host]
LIBRARY: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": lambda ps: optim.SGD(ps, lr=0.05, weight_decay=1e-3, fused=True),
    "momentum": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=1e-3, fused=True),
    "nesterov": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3, fused=True),
    "adagrad": lambda ps: optim.Adagrad(ps, lr=0.05, weight_decay=1e-3, fused=True),
    "rmsprop": lambda ps: optim.RMSprop(ps, lr=0.05, weight_decay=1e-3),
    "adam": lambda ps: optim.Adam(ps, lr=0.05, weight_decay=1e-3, fused=True),
    "adamw": lambda ps: optim.AdamW(ps, lr=0.05, weight_decay=1e-3, fused=True),
    "nadamw": lambda ps: optim.NAdam(ps, lr=0.05, weight_decay=1e-3, decoupled_weight_decay=True),
    "radam": lambda ps: optim.RAdam(ps, lr=0.05, weight_decay=1e-3, decoupled_weight_decay=True),
    "adafactor": lambda ps: optim.Adafactor(ps, lr=0.05, weight_decay=1e-3),
    "lion": lambda ps: pytorch_optimizer.Lion(ps, lr=0.05, weight_decay=1e-3),
    "schedule-free-adamw": lambda ps: pytorch_optimizer.ScheduleFreeAdamW(ps, lr=0.05, weight_decay=1e-3),
    "schedule-free-sgd": lambda ps: pytorch_optimizer.ScheduleFreeSGD(ps, lr=0.05, weight_decay=1e-3),
    "prodigy": lambda ps: pytorch_optimizer.Prodigy(ps, d_coef=0.05, weight_decay=1e-3),
    "muon": lambda ps: optim.Muon(ps, lr=0.05, weight_decay=1e-3, adjust_lr_fn="match_rms_adamw"),
    "soap": lambda ps: pytorch_optimizer.SOAP(ps, lr=0.05, weight_decay=1e-3, max_precondition_dim=2048),
    "shampoo": lambda ps: pytorch_optimizer.ScalableShampoo(
        ps,
        lr=0.05,
        weight_decay=1e-3,
        graft_type=LayerWiseGrafting.RMSPROP,
        moving_average_for_momentum=True,
        decoupled_weight_decay=True,
        preconditioning_compute_steps=50,
        no_preconditioning_for_layers_with_dim_gt=1024,
    ),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 1))


def loader() -> DataLoader[Any]:
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True).tanh()), batch_size=16)


def train(model: nn.Module, optimizers: list[Any], epochs: int = 10) -> list[float]:
    losses: list[float] = []
    batches = loader()
    for _ in range(epochs):
        for x, y in batches:
            loss = nn.functional.mse_loss(model(x), y)
            model.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            losses.append(loss.item())
    return losses


def test_every_rule_is_compared() -> None:
    """Gradient descent is not one of a library's."""
    assert set(LIBRARY) == set(RULES) - {"gradient-descent"}


@pytest.fixture
def as_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Muon in bfloat16, whatever this processor is good at."""
    monkeypatch.setattr(muon, "arithmetic", lambda device: torch.bfloat16)


@pytest.mark.usefixtures("as_torch")
@pytest.mark.parametrize("rule", LIBRARY)
def test_a_rule_is_its_librarys_to_the_bit(rule: str, swapped: Swapped) -> None:
    """Under a script that says nothing but Adam."""
    model = network()
    if RULES[rule].family == "matrix":
        matrix = model[2].weight
        rest = [p for p in model.parameters() if p is not matrix and p is not model[0].weight]
        own = LIBRARY[rule]([model[0].weight, matrix])
        optimizers = [own, optim.AdamW(rest, lr=0.05, weight_decay=1e-3, fused=True)]
    else:
        optimizers = [LIBRARY[rule](model.parameters())]
    wanted = train(model, optimizers, epochs=3)
    host = swapped(f"{rule} lr=0.05 weight_decay=0.001")
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.7)

    assert train(model, [optimizer], epochs=3) == wanted
    assert host.failures == {}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns(rule: str, swapped: Swapped) -> None:
    """At a rate that suits the problem the loss comes down by half, and the generator of the script is left alone."""
    rate = {"gradient-descent": 0.5, "sgd": 0.1, "schedule-free-sgd": 0.5, "prodigy": 1.0, "lion": 0.003}
    host = swapped(f"{rule} lr={rate.get(rule, 0.01)}")
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.3)
    losses = train(model, [optimizer], epochs=20)

    assert host.failures == {}
    assert sum(losses[-4:]) < sum(losses[:4]) / 2


@pytest.mark.usefixtures("as_torch")
def test_matrices_of_one_shape_are_orthogonalised_together() -> None:
    """Within the rounding of bfloat16 as torch does it one by one; tall ones, wide ones, and one without a gradient."""
    found: list[list[nn.Parameter]] = []
    for kind, options in ((Muon, {}), (optim.Muon, {"adjust_lr_fn": "match_rms_adamw"})):
        draws = torch.Generator().manual_seed(0)
        shapes = ((8, 4), (4, 8), (8, 4), (4, 8), (5, 5), (8, 4))
        matrices = [nn.Parameter(torch.randn(shape, generator=draws)) for shape in shapes]
        optimizer = kind(matrices, lr=0.1, weight_decay=0.1, **options)
        for _ in range(3):
            for p in matrices[:-1]:
                p.grad = torch.randn(p.shape, generator=draws)
            optimizer.step()
        found.append(matrices)

    for ours, torchs in zip(*found, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=0.0, atol=3 * 0.1 * 2**-7)
    assert torch.equal(found[0][4], found[1][4])
    assert torch.equal(found[0][5], found[1][5])


@pytest.mark.parametrize("rule", [rule for rule in RULES if RULES[rule].needs_library or rule == "muon"])
def test_engines_leave_the_generator_alone(rule: str, swapped: Swapped) -> None:
    """Dropout and shuffles are the same under every rule."""
    swapped(rule + " lr=0.01")
    model = network()
    optimizer = optim.Adam(model.parameters())
    x, y = loader().dataset[:16]
    before = torch.get_rng_state()
    for _ in range(55 if rule in ("soap", "shampoo") else 3):  # past the first preconditioners
        model.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("evaluates", [False, True])
def test_gradient_descent_is_one_update_per_epoch(evaluates: bool, swapped: Swapped) -> None:
    """By the mean gradient of all samples, whatever their batches: the last one here is smaller."""
    inputs = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    data = TensorDataset(inputs, inputs.sum(1, keepdim=True))
    model = network()
    plain = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        plain.zero_grad()
        nn.functional.mse_loss(model(inputs), data.tensors[1]).backward()
        plain.step()
    wanted = [p.detach().clone() for p in model.parameters()]

    swapped("gradient-descent lr=0.1")
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.3)
    first = [p.detach().clone() for p in model.parameters()]
    for epoch in range(2):
        for step, (x, y) in enumerate(DataLoader(data, batch_size=8)):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
            if evaluates:
                list(DataLoader(data, batch_size=20))
            if not epoch and step < 2:
                assert all(torch.equal(p, old) for p, old in zip(model.parameters(), first, strict=True))
    for p, goal in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(p, goal)


def test_a_schedule_takes_the_place_of_the_scripts(swapped: Swapped) -> None:
    """Groups keep their ratios, and what the scheduler writes is let be."""
    swapped("script lr=0.2 schedule=linear horizon=4")
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters(), "lr": 0.01}]
    optimizer = optim.SGD(groups)
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    rates: list[tuple[float, ...]] = []
    for x, y in loader():
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        scheduler.step()
        rates.append(optimizer._swap.rates)

    assert rates == [pytest.approx((rate, rate / 10)) for rate in (0.2, 0.15, 0.1, 0.05)]
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 / 16, 0.01 / 16])


def test_the_scripts_schedule_is_taken_relative_to_its_peak(swapped: Swapped) -> None:
    """Also where the constructor says 0 and the peak is still to come."""
    swapped("adamw lr=0.03 reference=0.3")
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    rates: list[float] = []
    for wanted, (x, y) in zip((0.1, 0.2, 0.3, 0.15), loader(), strict=True):
        optimizer.param_groups[0]["lr"] = wanted
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        rates += optimizer._swap.rates

    assert rates == pytest.approx([0.01, 0.02, 0.03, 0.015])


@pytest.mark.parametrize(
    ("arm", "optimizer", "decays"),
    [
        ("adamw", lambda groups: optim.AdamW(groups, weight_decay=0.1), [0.0, 0.1, 0.2]),  # as the script has it
        ("adamw weight_decay=0.5", lambda groups: optim.AdamW(groups, weight_decay=0.1), [0.0, 0.25, 0.5]),
        ("adamw", lambda groups: optim.SGD(groups, weight_decay=0.1), [0.0, 0.005, 0.01]),  # L2 is no decoupled decay
        ("sgd", lambda groups: optim.AdamW(groups, weight_decay=0.1), [0.0, 0.0, 0.0]),
        ("script weight_decay=0.4", lambda groups: optim.SGD(groups, weight_decay=0.1), [0.0, 0.2, 0.4]),
    ],
)
def test_weight_decay_is_translated(
    arm: str, optimizer: Callable[..., Any], decays: list[float], swapped: Swapped
) -> None:
    """Groups without any keep none, and their ratios stay."""
    swapped(arm)
    model = network()
    script = optimizer(
        [
            {"params": model[0].parameters(), "weight_decay": 0.0},
            {"params": model[2].parameters()},
            {"params": model[4].parameters(), "weight_decay": 0.2},
        ]
    )
    train(model, [script], epochs=1)
    rule = arm.split()[0]
    settings = script._swap._settings
    found = [settings.of_group(rule, group, 0.1)["weight_decay"] for group in script.param_groups]

    assert found == pytest.approx(decays)


def test_muon_computes_in_what_the_processor_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 by detours takes a hundred times as long; float32 finds the same matrix, and a more exact one."""
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    kinds = {"avx512_bf16": torch.bfloat16, "avx2": torch.float32}
    found: dict[torch.dtype, torch.Tensor] = {}
    for flag, kind in kinds.items():
        monkeypatch.setattr(muon, "processor", lambda flag=flag: ("any", {flag}))
        muon.arithmetic.cache_clear()
        found[kind] = muon.orthogonal(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
        assert found[kind].dtype is kind
    muon.arithmetic.cache_clear()

    torch.testing.assert_close(found[torch.bfloat16].float(), found[torch.float32], rtol=0.0, atol=2**-5)


def test_groups_that_the_script_changes_by_hand(swapped: Swapped) -> None:
    """A weight that is put into a group, or takes another's place there, is updated from then on."""
    swapped("adamw lr=0.1")
    weights = list(network().parameters())[:4]
    optimizer = optim.SGD(weights[:2], lr=0.1)

    def moved() -> list[bool]:
        before = [p.detach().clone() for p in weights]
        optimizer.zero_grad()
        sum(p.pow(3).sum() for p in weights).backward()
        optimizer.step()
        return [not torch.equal(p, old) for p, old in zip(weights, before, strict=True)]

    assert moved() == [True, True, False, False]
    optimizer.param_groups[0]["params"].append(weights[2])
    assert moved() == [True, True, True, False]
    optimizer.param_groups[0]["params"][0] = weights[3]
    assert moved() == [False, True, True, True]
