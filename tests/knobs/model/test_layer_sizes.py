"""Layers of other sizes, as the script's own code builds them."""

from __future__ import annotations

from math import isfinite

import pytest
import torch
from torch import nn

from hotlap.inside.host import Host
from hotlap.knobs import LAYER_SIZES
from hotlap.knobs.model.layer_sizes import LayerSizes, sizes_of


class Head(nn.Linear):
    """A script's own layer."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 203, bias=False)


class Language(nn.Module):
    """Every kind of layer in which such a size stands."""

    def __init__(self, words: int = 203, width: int = 100) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, embedding_dim=width)
        self.attention = nn.TransformerEncoderLayer(width, 4, dim_feedforward=150, batch_first=True)
        self.recurrent = nn.LSTM(width, hidden_size=width, batch_first=True)
        self.depthwise = nn.Conv1d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm([width])
        self.head = Head(width)
        self.head.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.recurrent(self.attention(self.embedding(x)))[0]
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.norm(x))


def trained(model: nn.Module) -> float:
    """A step of it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    words = torch.randint(203, (2, 8))
    loss = nn.functional.cross_entropy(model(words).flatten(0, 1), words.flatten())
    loss.backward()
    optimizer.step()
    return loss.item()


def test_every_layer_with_such_a_size_gets_the_other(host: Host) -> None:
    LayerSizes().install("100=104,203=208,150=152", host)
    model = Language()

    assert {size for weight in model.parameters() for size in weight.shape} == {208, 104, 152, 3 * 104, 4 * 104, 1, 3}
    assert (model.depthwise.groups, model.norm.normalized_shape, model.head.out_features) == (104, (104,), 208)
    assert isfinite(trained(model))
    assert not host.failures
    host.undo()
    assert Language().head.weight.shape == (203, 100)


def test_arguments_that_are_no_sizes_are_left_alone(host: Host) -> None:
    """A kernel of that length, and a number of heads."""
    LayerSizes().install("80=96,4=8", host)

    assert nn.Conv1d(1, 80, 80, 4).weight.shape == (96, 1, 80)
    assert nn.MultiheadAttention(8, 4).num_heads == 4


@pytest.mark.parametrize(
    ("purpose", "sizes", "failed"),
    [("time", "100=104,999=1024", True), ("run", "999=1024", True), ("run", "100=104,999=1024", False)],
)
def test_a_size_that_no_layer_has_is_told(
    purpose: str, sizes: str, failed: bool, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script is another one than was raced; a real training keeps what was found, and is told the rest."""
    host.task["purpose"] = purpose
    LayerSizes().install(sizes, host)
    trained(Language())
    said = "no layer of torch's was built with a size of 999"

    assert host.failures == ({LAYER_SIZES: said} if failed else {})
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("value", [True, 3, "", "650", "650=", "a=b", "650=640", "0=8", "8=16,8=24", "8=16,16=24"])
def test_what_cannot_be_meant_is_refused(value: bool | int | str) -> None:
    """A chain of sizes would depend on what is built inside of what."""
    assert "650=704" in str(LayerSizes().refuses(value))


def test_several_sizes_are_read() -> None:
    assert LayerSizes().refuses("650=704,33278=33280") is None
    assert sizes_of("650=704,33278=33280") == {650: 704, 33278: 33280}
