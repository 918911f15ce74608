"""What a parameter is in its network: who gets a rule for matrices, and as which matrices.

Muon, SOAP and Shampoo are for the weights of hidden layers. Embeddings, the output layer, the first convolution,
depthwise ones, norms, biases and whatever no known layer owns stay with AdamW (Keller Jordan, "Muon: an optimizer for
hidden layers in neural networks", 2024). Filters are flattened to [out, rest]; weights that hold several matrices, one
upon another, are taken apart, since the product of a packed matrix is not the pack of their products.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_GATES = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3, nn.RNN: 1, nn.RNNCell: 1}
_PACKED = re.compile(r"qkv|c_attn|query_key_value|in_proj", re.IGNORECASE)
_HALF_PACKED = re.compile(r"(^|_)kv($|_)|key_value", re.IGNORECASE)


class Network:
    """The modules that own an optimizer's parameters, and the order in which they are called.

    Args:
        parameters: Of the optimizer.
        hooked: Whether to hook the layers until `settle`, to see which is called first and last; else the order of
            their definition stands for it.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, hooked: bool) -> None:
        wanted = {id(p) for p in parameters}
        living = _living()
        owners = {
            id(module): (module, name.rpartition(".")[2])
            for top in _tops(living)
            for name, module in top.named_modules()
            if any(id(p) in wanted for p in module._parameters.values())
        }
        self.modules = [module for module, _ in owners.values()]
        self._names = {number: name for number, (_, name) in owners.items()}
        layers = [module for module in self.modules if isinstance(module, (nn.Linear, *_CONVOLUTIONS))]
        self._called: list[int] = []
        self._defined = [id(layer) for layer in layers]
        hooked = hooked and not any(type(module).__name__ == "OptimizedModule" for module in living)
        self._hooks = [layer.register_forward_hook(self._note) for layer in layers] if hooked else []

    def _note(self, module: Any, args: Any, output: Any) -> None:
        if not torch.compiler.is_compiling() and getattr(output, "requires_grad", False):
            self._called.append(id(module))

    def settle(self) -> None:
        """Take the hooks out: a forward and a backward have been."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    @property
    def tracks_statistics(self) -> bool:
        """Whether a BatchNorm of it remembers means and variances for evaluation."""
        norms = (module for module in self.modules if isinstance(module, nn.modules.batchnorm._BatchNorm))
        return any(norm.track_running_stats for norm in norms)

    def pieces(self) -> dict[int, int]:
        """By the id of each parameter that is made of matrices, of how many; those that are not are not in it."""
        order = self._called or self._defined
        outermost = {order[-1], *self._first_convolution(order)} if order else set[int]()
        found: dict[int, int] = {}
        rest: set[int] = set()
        for module in self.modules:
            for name, p in module._parameters.items():
                if p is None:
                    continue
                count = 0 if id(module) in outermost else self._matrices(module, name, p)
                if count:
                    found[id(p)] = count
                else:
                    rest.add(id(p))  # tied weights are the embedding's and the output's
        return {number: count for number, count in found.items() if number not in rest}

    def _first_convolution(self, order: list[int]) -> list[int]:
        convolutions = {id(module) for module in self.modules if isinstance(module, _CONVOLUTIONS)}
        return [number for number in order[:1] if number in convolutions]

    def _matrices(self, module: nn.Module, name: str, p: nn.Parameter) -> int:
        """How many matrices this parameter of the module holds; 0 for none."""
        if p.ndim < 2 or min(p.shape[0], p.numel() // p.shape[0]) < 2:
            return 0
        if isinstance(module, nn.MultiheadAttention):
            return 3 if name == "in_proj_weight" else int(name.endswith("proj_weight"))
        for kind, gates in _GATES.items():
            if isinstance(module, kind):
                return 1 if name.startswith("weight_hr") else gates
        if isinstance(module, _CONVOLUTIONS):
            return int(module.groups == 1)
        return self._packed(self._names.get(id(module), ""), p) if isinstance(module, nn.Linear) else 0

    def _packed(self, name: str, p: nn.Parameter) -> int:
        rows, columns = p.shape
        if _PACKED.search(name):  # of grouped heads the parts have other sizes: no matrix that is known
            return 3 * (rows == 3 * columns)
        return 2 if _HALF_PACKED.search(name) and rows == 2 * columns else 1


def _living() -> list[nn.Module]:
    """Every module; those that a deep copy made never came by a constructor, so only the collector knows them all."""
    return [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module) and "_modules" in vars(thing)]


def _tops(living: list[nn.Module]) -> list[nn.Module]:
    """Those that are no part of another one."""
    children = {id(child) for module in living for child in module._modules.values()}
    return [module for module in living if id(module) not in children]
