"""Gradients that are let go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from hotlap.inside.host import Host
from hotlap.knobs.optimizer.grads_to_none import GradsToNone

Cut = Callable[[nn.ModuleList], None]


def frozen(layers: nn.ModuleList) -> None:
    layers[0].requires_grad_(False)


def unused(layers: nn.ModuleList) -> None:
    layers[0].forward = lambda x: x  # a head that is no longer called


@pytest.mark.parametrize("cut", [frozen, unused])
@pytest.mark.parametrize("to_none_from", [4, 99])
@pytest.mark.parametrize("by_model", [False, True])
def test_what_gets_no_gradient_any_more_moves_as_it_would_have(
    host: Host, cut: Cut, to_none_from: int, by_model: bool
) -> None:
    """By momentum and decay, for as long as the script asks for zeros; and not at all when it no longer does."""

    def trained() -> torch.Tensor:
        torch.manual_seed(0)
        layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        optimizer = torch.optim.AdamW(layers.parameters(), lr=0.1, weight_decay=0.1)
        weight = layers[0].weight
        for number in range(7):
            if number == 3:
                cut(layers)
            (layers if by_model else optimizer).zero_grad(set_to_none=number >= to_none_from)
            x = torch.linspace(-1, 1, 8).reshape(2, 4)
            for layer in layers:
                x = layer(x)
            x.pow(2).sum().backward()
            optimizer.step()
        return weight.detach()

    plain = trained()
    GradsToNone().install(True, host)

    assert torch.equal(trained(), plain)


def test_what_the_script_lets_go_itself_stays_so(host: Host) -> None:
    """As those do who freeze a layer and do not want momentum to move it any further."""

    def trained() -> torch.Tensor:
        torch.manual_seed(0)
        layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        optimizer = torch.optim.AdamW(layers.parameters(), lr=0.1, weight_decay=0.1)
        for number in range(6):
            if number == 3:
                layers[0].requires_grad_(False)
                for p in layers[0].parameters():
                    p.grad = None
            optimizer.zero_grad(set_to_none=False)
            layers[1](layers[0](torch.linspace(-1, 1, 8).reshape(2, 4))).pow(2).sum().backward()
            optimizer.step()
        return layers[0].weight.detach()

    plain = trained()
    GradsToNone().install(True, host)

    assert torch.equal(trained(), plain)


def test_under_a_closure_the_zeros_come_after_it(host: Host) -> None:
    """It lets the gradients go and makes new ones within the step."""

    def trained() -> torch.Tensor:
        torch.manual_seed(0)
        layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        optimizer = torch.optim.SGD(layers.parameters(), lr=0.1, momentum=0.9)

        def closure() -> torch.Tensor:
            optimizer.zero_grad(set_to_none=False)
            loss = layers[1](layers[0](torch.linspace(-1, 1, 8).reshape(2, 4))).pow(2).sum()
            loss.backward()
            return loss

        for number in range(6):
            if number == 3:
                layers[0].requires_grad_(False)
            optimizer.step(closure)
        return layers[0].weight.detach()

    plain = trained()
    GradsToNone().install(True, host)

    assert torch.equal(trained(), plain)
