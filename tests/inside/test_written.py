"""What the script's own code says of its later steps."""

from __future__ import annotations

import pytest

from inside.conftest import Place

LOOP = """
model, x = nn.Linear(4, 4), torch.randn(8, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(16):
    optimizer.zero_grad()
    loss = model(x).pow(2).mean()
    if step > 1000:
        loss = loss + torch.autograd.grad(loss, x, {})[0].sum()
    loss.backward()
    optimizer.step()
"""


@pytest.mark.parametrize(("asked", "twice"), [("True", True), ("not fast", True), ("False", False)])
def test_gradients_that_are_differentiated_in_a_later_step(place: Place, asked: str, twice: bool) -> None:
    """The steps that are observed do not come there."""
    observed = place.observe(LOOP.format(f"create_graph={asked}"))

    assert observed.facts["differentiates_twice"] is twice
