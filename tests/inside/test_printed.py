"""A script's own number, with the step after which it was printed."""

from __future__ import annotations

from inside.conftest import Place

PRINTS = """
import logging, sys
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
for epoch in range(3):
    for _ in range(4):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    print("accuracy ", end="")
    print(epoch / 2, end="; nothing else\\n")
    logging.info("loss %s", 1 / (epoch + 1))
    sys.stderr.write(f"\\rbar {epoch} accuracy x\\r")
print("accuracy 0.75")
"""


def metric(place: Place, **options: object) -> list[list[float]]:
    place.write(PRINTS)
    ran = place.run(options=options)
    assert ran.code == 0, ran.stderr
    return ran.record.seen.get("metric", [])


def test_every_line_is_heard_with_its_step(place: Place) -> None:
    """In pieces, from loggers and from progress bars; what is no number is none."""
    found = metric(place, metric="(?:accuracy|loss|bar) ([0-9.x]+)")

    assert found[:3] == [[4, 0.0], [4, 1.0], [4, 0.0]]
    assert found[3:5] == [[8, 0.5], [8, 0.5]]
    assert found[-1] == [12, 0.75]
    assert len(found) == 10


def test_a_trial_ends_with_the_first_number_after_its_steps(place: Place) -> None:
    """An evaluation belongs to the rung that it measures."""
    assert metric(place, metric="accuracy ([0-9.]+)", metric_from=6) == [[4, 0.0], [8, 0.5]]
