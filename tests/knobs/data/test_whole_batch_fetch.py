"""Whole-batch fetch as a knob."""

from __future__ import annotations

import torch
from facts import facts
from torch.utils.data import DataLoader, TensorDataset

from hotlap.inside.host import Host
from hotlap.knobs.data.whole_batch_fetch import WholeBatchFetch
from hotlap.records import Skip


def test_on_where_a_training_loader_allows_it() -> None:
    assert WholeBatchFetch().choices(facts()) == (True,)


def test_says_what_is_in_the_way() -> None:
    """The reason found inside reaches the user."""
    answer = WholeBatchFetch().choices(facts(loader={"dataset": "__main__:Photos", "whole_batch": "it opens files"}))

    assert answer == Skip("Photos: it opens files")


def test_skips_without_a_training_loader() -> None:
    assert WholeBatchFetch().choices(facts(loader={"trains": False})) == Skip("no DataLoader feeds the training")


def test_serves_the_same(host: Host) -> None:
    """Two epochs, to the bit, and stock again afterwards."""
    dataset = TensorDataset(torch.randn(40, 5), torch.arange(40))
    loader = DataLoader(dataset, batch_size=16, shuffle=True)
    torch.manual_seed(7)
    expected = [*loader, *loader]
    WholeBatchFetch().install(True, host)
    torch.manual_seed(7)
    served = [*loader, *loader]

    assert len(served) == 6
    assert all(torch.equal(a, b) for one, other in zip(expected, served) for a, b in zip(one, other))
