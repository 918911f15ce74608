"""Operations as torch dispatches them; "meta" stands for a device that is not the host."""

from __future__ import annotations

import torch

from hotlap.inside.listing import Listing


def crossings(listing: Listing) -> list[tuple[str, str]]:
    """Where copies between devices come from and go to."""
    return [call.crossing for call in listing.operations() if call.crossing]


def test_it_counts_calls_that_are_alike() -> None:
    """By name, shapes, types and places; bytes are those of all of them."""
    with Listing() as listing:
        for _ in range(3):
            torch.zeros(4) + torch.zeros(4)
    calls = {call.name: call for call in listing.operations()}

    assert calls["zeros"].count == 6
    assert (calls["add"].count, calls["add"].inputs, calls["add"].places) == (3, ((4,), (4,)), ("cpu",))
    assert calls["add"].moved_bytes == 3 * 3 * 16


def test_it_tells_what_was_made_on_the_host_from_what_came_there() -> None:
    """By any function that takes no tensor, torch.tensor among them."""
    before = torch.ones(3)
    with Listing() as listing:
        torch.zeros(4).to("meta")
        torch.tensor([1.0, 2.0]).to("meta")
        before.to("meta")

    assert crossings(listing) == [("made", "meta"), ("made", "meta"), ("cpu", "meta")]


def test_what_was_made_for_a_batch_is_data() -> None:
    """A loader in this process makes its labels with torch.tensor."""
    with Listing() as listing:
        labels = torch.tensor([1, 2])
        listing.served()
        labels.to("meta")

    assert crossings(listing) == [("cpu", "meta")]


def test_copies_into_a_tensor_have_their_goal_first() -> None:
    """As `copy_` has it."""
    with Listing() as listing:
        torch.empty(3, device="meta").copy_(torch.ones(3))
        torch.ones(3).copy_(torch.ones(3))

    assert crossings(listing) == [("made", "meta")]
