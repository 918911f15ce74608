"""Whether a model draws random numbers when it is trained."""

from __future__ import annotations

import pytest

from inside.conftest import Place

LOOP = """
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(8):
    optimizer.zero_grad()
    model(x).pow(2).mean().backward()
    optimizer.step()
"""
NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
    def forward(self, x):
        {}
model, x = Net(), torch.randn(8, 4)
"""


@pytest.mark.parametrize(
    ("forward", "drawn"),
    [
        ("return self.layer(x)", False),
        ("return nn.functional.dropout(self.layer(x), 0.1)", True),
        ("return nn.functional.dropout(self.layer(x), 0.1, training=False)", False),
        ("return nn.functional.dropout2d(self.layer(x)[None, :, :, None], 0.1)", True),
        ("return nn.functional.alpha_dropout(self.layer(x), 0.1, training=True)", True),
        ("h = self.layer(x); return h + torch.randn_like(h)", True),
        ("return self.layer(x) * torch.empty(8, 1).bernoulli_(0.9)", True),
        ("import random; return self.layer(x) * random.random()", True),
    ],
)
def test_a_model_that_draws_is_seen(place: Place, forward: str, drawn: bool) -> None:
    """By whatever call, in a module or not."""
    assert place.observe(NET.format(forward) + LOOP).facts["stochastic"] is drawn


@pytest.mark.parametrize(("layer", "drawn"), [("nn.LSTM(4, 4, 2)", False), ("nn.LSTM(4, 4, 2, dropout=0.1)", True)])
def test_dropout_within_a_kernel_is_seen(place: Place, layer: str, drawn: bool) -> None:
    net = NET.replace("nn.Linear(4, 4)", layer).format("return self.layer(x)[0]")

    assert place.observe(net + LOOP).facts["stochastic"] is drawn


def test_drawing_the_first_weights_is_no_dropout(place: Place) -> None:
    """Nor is what the script draws beside its model."""
    lazy = "model, x = nn.Sequential(nn.LazyLinear(4)), torch.randn(8, 4)\nmodel(x)"
    beside = LOOP.replace("model(x)", "model(x + torch.randn(8, 4))")

    assert place.observe(f"{lazy}\n{beside}").facts["stochastic"] is False
