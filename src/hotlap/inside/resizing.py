"""Layers of other sizes than the script asks for, changed as torch's own layers are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch

from hotlap.knobs import LAYER_SIZES

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_CONVOLUTION = {"in_channels": 0, "out_channels": 1, "groups": 6}
_RECURRENT = {"input_size": 0, "hidden_size": 1}
_NORM = {"num_features": 0}
_SIZES: dict[str, dict[str, int]] = {  # of each layer, the arguments that are sizes, with their places
    "Linear": {"in_features": 0, "out_features": 1},
    "Bilinear": {"in1_features": 0, "in2_features": 1, "out_features": 2},
    "Embedding": {"num_embeddings": 0, "embedding_dim": 1},
    "EmbeddingBag": {"num_embeddings": 0, "embedding_dim": 1},
    **{f"{kind}{n}d": _CONVOLUTION for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)},
    **dict.fromkeys(("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"), _RECURRENT),
    **{f"{kind}Norm{n}d": _NORM for kind in ("Batch", "Instance") for n in (1, 2, 3)},
    "SyncBatchNorm": _NORM,
    "LayerNorm": {"normalized_shape": 0},
    "RMSNorm": {"normalized_shape": 0},
    "GroupNorm": {"num_channels": 1},
    "PReLU": {"num_parameters": 0},
    "MultiheadAttention": {"embed_dim": 0, "kdim": 6, "vdim": 7},
    "TransformerEncoderLayer": {"d_model": 0, "dim_feedforward": 2},
    "TransformerDecoderLayer": {"d_model": 0, "dim_feedforward": 2},
    "Transformer": {"d_model": 0, "dim_feedforward": 4},
}


class Resizing:
    """Gives torch's own layers, and classes derived from them, other sizes.

    Args:
        sizes: Each with the one that takes its place.
        host: Of this process.
    """

    def __init__(self, sizes: Mapping[int, int], host: Host) -> None:
        self._sizes = sizes
        self._host = host
        self._unseen = set(sizes)

    def install(self) -> None:
        """Look at every layer that is built from now on."""
        for name, places in _SIZES.items():
            if kind := getattr(torch.nn, name, None):  # RMSNorm came with torch 2.4
                self._host.wrap(kind, "__init__", partial(self._resized, places))
        self._host.before_first_step(self._check)

    def _resized(self, places: Mapping[str, int], build: Callable[..., None]) -> Callable[..., None]:
        def init(module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
            given = list(args)
            for name, place in places.items():
                if place < len(given):
                    given[place] = self._other(given[place])
                elif name in kwargs:
                    kwargs[name] = self._other(kwargs[name])
            build(module, *given, **kwargs)

        return init

    def _other(self, size: Any) -> Any:
        if isinstance(size, (tuple, list)):  # the shape that a norm takes
            return tuple(map(self._other, size))
        if not isinstance(size, Integral) or size not in self._sizes:
            return size
        self._unseen.discard(int(size))
        return self._sizes[int(size)]

    def _check(self, optimizer: torch.optim.Optimizer) -> None:
        if not self._unseen:
            return
        said = f"no layer of torch's was built with a size of {' and '.join(map(str, sorted(self._unseen)))}"
        if self._host.task["purpose"] == "run" and len(self._unseen) < len(self._sizes):
            self._host.remark(f"{LAYER_SIZES}: {said}; the other sizes were found")
        else:
            self._host.failed(LAYER_SIZES, said)
        self._unseen.clear()
