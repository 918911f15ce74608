"""Which weights a rule for matrices is given, and as which matrices."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from hotlap.inside.race.engines import Piece
from hotlap.inside.race.roles import Network


class Block(nn.Module):
    """Of a residual network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.depthwise(self.bn1(self.conv1(x)).relu())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 10)  # defined first and called last
        self.block = Block(8)
        self.down = nn.Conv2d(8, 8, 1)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.down(self.block(self.stem(x))).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width)
        self.to_kv = nn.Linear(width, 2 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, _, v = self.c_attn(x).chunk(3, -1)
        return self.c_proj(q * v + self.to_kv(x).chunk(2, -1)[0])


class Transformer(nn.Module):
    """Two kinds of attention, and an output layer that shares the embedding's weights or has its own."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.wte = nn.Embedding(20, 8)
        self.position = nn.Parameter(torch.zeros(4, 8))
        self.own = Attention(8)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
        self.lm_head = nn.Linear(8, 20, bias=False)
        if tied:
            self.lm_head.weight = self.wte.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.lm_head(self.layers(self.own(self.wte(tokens) + self.position)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 6, num_layers=2, proj_size=4)
        self.gru = nn.GRU(4, 6)
        self.out = nn.Linear(6, 20)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(self.gru(self.lstm(self.embedding(tokens))[0])[0])


def roles(model: nn.Module, batch: torch.Tensor, *, hooked: bool = True) -> dict[str, int]:
    """Names of the parameters that are matrices, with their number."""
    network = Network(model.parameters(), hooked=hooked)
    model(batch).sum().backward()
    network.settle()
    pieces = network.pieces()
    assert not any(module._forward_hooks for module in model.modules())
    return {name: pieces[id(p)] for name, p in model.named_parameters() if id(p) in pieces}


IMAGES, TOKENS = torch.ones(2, 3, 4, 4), torch.zeros(2, 4, dtype=torch.long)


def test_a_residual_network() -> None:
    """Filters of hidden layers alone: not the first, not the depthwise, and the output is found by what is called."""
    assert roles(Residual(), IMAGES) == {"block.conv1.weight": 1, "down.weight": 1}


@pytest.mark.parametrize("tied", [True, False])
def test_a_transformer(tied: bool) -> None:
    """Packed projections are taken apart; embeddings and the output are no matrices, tied or not."""
    layer = {"self_attn.in_proj_weight": 3, "self_attn.out_proj.weight": 1, "linear1.weight": 1, "linear2.weight": 1}
    found = roles(Transformer(tied=tied), TOKENS)

    assert found == {
        "own.c_attn.weight": 3,
        "own.to_kv.weight": 2,
        "own.c_proj.weight": 1,
        **{f"layers.layers.{place}.{name}": count for place in (0, 1) for name, count in layer.items()},
    }


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_heads_that_share_keys_are_no_matrix() -> None:
    """Queries, keys and values of different sizes in one weight: where one ends is not known."""
    model = nn.Sequential()
    model.add_module("qkv", nn.Linear(8, 12))
    model.add_module("out", nn.Linear(12, 12))
    model.add_module("head", nn.Linear(12, 2))

    assert roles(model, torch.randn(3, 8)) == {"out.weight": 1}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_gates_of_recurrent_layers() -> None:
    """Each gate is a matrix of its own."""
    lstm = {"weight_ih_l0": 4, "weight_hh_l0": 4, "weight_hr_l0": 1, "weight_ih_l1": 4, "weight_hh_l1": 4}
    gru = {"gru.weight_ih_l0": 3, "gru.weight_hh_l0": 3}

    assert roles(Recurrent(), TOKENS) == {f"lstm.{n}": c for n, c in lstm.items()} | {"lstm.weight_hr_l1": 1} | gru


def test_without_hooks_the_order_of_definition_counts() -> None:
    """In a compiled model nothing is hooked; a copy is found like its original."""
    plain = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 8))

    assert roles(copy.deepcopy(plain), torch.ones(2, 8), hooked=False) == {"0.weight": 1, "2.weight": 1}


@pytest.mark.parametrize(
    "weight",
    [
        torch.randn(6, 4),
        torch.randn(6, 4, 3, 3),
        torch.randn(6, 4, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(6, 1, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(6, 4, 3),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_pieces_are_views_with_the_gradient_in_the_same_order(weight: torch.Tensor, count: int) -> None:
    """Whatever the layouts of the two, an update of the pieces is one of the weight."""
    p: Any = nn.Parameter(weight.clone(memory_format=torch.preserve_format))
    p.grad = torch.randn(p.shape)
    wanted = p.detach() - p.grad
    piece = Piece.of(p, count)
    piece.fill()
    with torch.no_grad():
        for view in piece.views:
            assert view.ndim == 2
            assert view.shape[0] == 6 // count
            view.sub_(view.grad)

    assert torch.equal(p, wanted)
