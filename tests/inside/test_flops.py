"""Operations of a step, against what can be worked out by hand."""

from __future__ import annotations

import pytest

from inside.conftest import Place

LOOP = """
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(8):
    optimizer.zero_grad()
    out = model(x)
    (out[0] if isinstance(out, tuple) else out).pow(2).mean().backward()
    optimizer.step()
"""


@pytest.mark.parametrize(
    ("made", "flops"),
    [
        # forward and the weight's gradient; the input needs none
        ("model, x = nn.Linear(64, 32), torch.randn(8, 64)", 2 * (2 * 8 * 64 * 32)),
        # the second layer's input needs one as well
        ("model, x = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 16)), torch.randn(8, 64)",
         2 * (2 * 8 * 64 * 32) + 3 * (2 * 8 * 32 * 16)),
        ("model, x = nn.Conv2d(3, 8, 3, padding=1), torch.randn(4, 3, 16, 16)",
         2 * (2 * 4 * 16 * 16 * 8 * 3 * 9)),
        # one layer: input and hidden products of four gates; backward twice that
        ("model, x = nn.LSTM(32, 16), torch.randn(5, 4, 32)", 3 * (2 * 5 * 4 * (4 * 16 * 32 + 4 * 16 * 16))),
    ],
    ids=["linear", "two linear", "convolution", "recurrent"],
)  # fmt: skip
def test_operations_are_those_of_the_products(place: Place, made: str, flops: int) -> None:
    """Matrix products and convolutions count; what is done to single elements does not."""
    observed = place.observe(f"{made}\n{LOOP}")

    assert observed.facts["flops_per_step"] == pytest.approx(flops, rel=0.02)


def test_attention_on_a_cpu_is_counted(place: Place) -> None:
    """For which torch's own counter has no formula there: two products forward, and five backward."""
    observed = place.observe(
        """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
    def forward(self, x):
        q = x * self.scale
        return nn.functional.scaled_dot_product_attention(q, q, q)
model, x = Attention(), torch.randn(2, 4, 32, 16)
"""
        + LOOP
    )

    product = 2 * (2 * 4) * 32 * 32 * 16
    assert observed.facts["flops_per_step"] == 7 * product


def test_a_short_script_is_not_counted(place: Place) -> None:
    """Nor is the run disturbed."""
    observed = place.observe("model, x = nn.Linear(4, 2), torch.randn(8, 4)\n" + LOOP.replace("range(8)", "range(3)"))

    assert observed.facts["flops_per_step"] is None


def test_a_mode_of_the_scripts_own_is_left_alone(place: Place) -> None:
    """What the script counts itself comes out as without hotlap."""
    observed = place.observe(
        """
from torch.utils.flop_counter import FlopCounterMode
model, x = nn.Linear(64, 32), torch.randn(8, 64)
with FlopCounterMode(display=False) as counter:
"""
        + "\n".join("    " + line for line in LOOP.strip().splitlines())
        + "\nprint('flops', counter.get_total_flops())\n"
    )

    assert observed.facts["flops_per_step"] is None
    assert observed.printed("flops") == [8 * 2 * (2 * 8 * 64 * 32)]
