"""Another batch size in the user's process: the loader that trains, and the rates that go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from inside.conftest import Place, place
from torch import nn, optim
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, TensorDataset

from hotlap.inside.host import Host
from hotlap.inside.race import refusals
from hotlap.knobs import OPTIMIZER_RULE

__all__ = ["place"]

Swapped = Callable[..., Host]
OF = "of=8/64/shuffled/torch.utils.data.dataset:TensorDataset"
DOUBLE = f"script batch=16 {OF}"


def dataset(length: int = 64) -> TensorDataset:
    inputs = torch.randn(length, 4, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def loader(size: int = 8, **more: Any) -> DataLoader[Any]:
    return DataLoader(dataset(), batch_size=size, shuffle=True, **more)


def losses(make: Callable[[Any], Any], size: int = 8, epochs: int = 2) -> list[float]:
    """A training over a loader that is built anew for every epoch."""
    torch.manual_seed(0)
    model, found = nn.Linear(4, 1), list[float]()
    optimizer = make(model.parameters())
    for _ in range(epochs):
        for x, y in loader(size):
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return found


def test_the_loader_that_trains_and_no_other(swapped: Swapped) -> None:
    """Its length follows at once, for a script computes its schedule from that; what is built later is found too."""
    host = swapped(DOUBLE)
    trains, again = loader(drop_last=True), loader(num_workers=0)
    others = [DataLoader(dataset(), batch_size=8), DataLoader(dataset(32), batch_size=8, shuffle=True), loader(4)]

    assert (len(trains), trains.batch_size, len(again)) == (4, 16, 4)
    assert [x.size(0) for x, _ in trains] == [16] * 4
    assert [other.batch_size for other in others] == [8, 8, 4]
    host.undo()
    assert (len(trains), trains.batch_size, len(loader())) == (8, 8, 8)


def test_a_batch_sampler_of_torch_is_resized_and_of_the_script_left_alone(swapped: Swapped) -> None:
    class Pairs(BatchSampler):
        """Of the script's own."""

    swapped(DOUBLE)
    mine, theirs = (kind(RandomSampler(dataset()), 8, False) for kind in (BatchSampler, Pairs))
    sized, left = (DataLoader(dataset(), batch_sampler=one) for one in (mine, theirs))

    assert (len(sized), len(mine), sized.batch_size) == (4, 4, None)
    assert len(left) == 8


def test_an_epoch_of_larger_batches_is_served_in_the_same_order(swapped: Swapped) -> None:
    """What is paired by seed sees the same samples one after the other."""
    torch.manual_seed(3)
    as_written = torch.cat([x for x, _ in loader()])
    swapped(DOUBLE)
    torch.manual_seed(3)

    assert torch.equal(torch.cat([x for x, _ in loader()]), as_written)


@pytest.mark.parametrize(
    ("written", "by_hand"),
    [
        (lambda p: optim.SGD(p, lr=0.05, momentum=0.9), lambda p: optim.SGD(p, lr=0.1, momentum=0.9)),
        (
            lambda p: optim.AdamW(p, lr=0.05, betas=(0.8, 0.99)),
            lambda p: optim.AdamW(p, lr=0.05 * 2**0.5, betas=(0.8, 0.99**2)),
        ),
        (lambda p: optim.RMSprop(p, lr=0.05), lambda p: optim.RMSprop(p, lr=0.05 * 2**0.5, alpha=0.99**2)),
    ],
    ids=["SGD", "AdamW", "RMSprop"],
)
def test_the_rate_and_the_second_beta_follow_the_size(swapped: Swapped, written: Any, by_hand: Any) -> None:
    """Bit for bit what the script does when it is written so."""
    expected = losses(by_hand, size=16)
    host = swapped(DOUBLE)
    found = losses(written)

    assert found == expected
    assert len(found) == 8
    assert host.failures == {}


def test_a_smaller_batch_under_the_schedule_of_the_script(swapped: Swapped) -> None:
    """Half of the batch, half of the rate of each group, along the whole schedule over as many samples."""
    swapped(f"script batch=4 {OF} schedule=points:0/0,0.5/1,1/0 horizon=4 reference=0.2")
    loader()
    weights = [nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = optim.SGD([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.1}], lr=0.2)
    rates: list[tuple[float, ...]] = []
    for _ in range(5):
        sum(weights).sum().backward()  # type: ignore[union-attr]
        optimizer.step()
        rates.append(optimizer._swap.rates)  # type: ignore[attr-defined]

    assert rates == [pytest.approx((share * 0.1, share * 0.05)) for share in (0.0, 0.5, 1.0, 0.5, 0.0)]


def test_a_script_without_such_a_loader_trains_as_written(swapped: Swapped) -> None:
    """Its rate stays as well: a plan for another data set changes nothing."""
    expected = losses(lambda p: optim.SGD(p, lr=0.05), size=32)
    host = swapped(DOUBLE)

    assert losses(lambda p: optim.SGD(p, lr=0.05), size=32) == expected
    assert host.failures == {OPTIMIZER_RULE: refusals.NO_SUCH_LOADER}


def test_an_optimizer_without_a_rule_for_its_rate_is_refused(swapped: Swapped) -> None:
    host = swapped(DOUBLE)
    losses(lambda p: optim.Adagrad(p, lr=0.05))

    assert host.failures == {OPTIMIZER_RULE: refusals.NO_GROWTH.format("Adagrad")}


def test_a_dataset_that_does_not_know_its_length_is_no_error(swapped: Swapped, capsys: Any) -> None:
    class Endless(Dataset[int]):
        def __getitem__(self, index: int) -> int:
            return index

    class Drawn:
        def __iter__(self) -> Iterator[int]:
            return iter(range(8))

    swapped(DOUBLE)

    assert len(list(DataLoader(Endless(), batch_size=8, sampler=Drawn()))) == 1  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""


SCRIPT = """
def data(n):
    x = torch.randn(n, 4)
    return TensorDataset(x, x.sum(1, keepdim=True))
train, test = DataLoader(data(64), batch_size=8, shuffle=True), DataLoader(data(16), batch_size=8)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, 3 * len(train))
print("steps", 3 * len(train))
for epoch in range(3):
    for x, y in train:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        scheduler.step()
    print("batches", sum(1 for _ in test))
print("rate", optimizer.param_groups[0]["lr"])
"""


@pytest.mark.parametrize("purpose", ["race", "run"])
def test_a_whole_training(place: Place, purpose: str) -> None:
    """As a trial and under a plan: fewer steps, an evaluation as written, a schedule that comes to its end."""
    place.write(SCRIPT)
    ran = place.run(purpose=purpose, settings=[[OPTIMIZER_RULE, f"{DOUBLE} horizon=12"]])

    assert ran.code == 0, ran.stderr
    assert ran.printed("steps") == [12]
    assert ran.printed("batches") == [2, 2, 2]
    assert ran.printed("rate") == [pytest.approx(0.05)]  # the script's own groups are the script's
    if purpose == "race":
        assert len(ran.record.steps.losses) == 12
        assert ran.raced.rates[0] == (1, pytest.approx((0.2,)))
        assert ran.record.failed_knobs == {}
