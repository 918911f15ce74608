"""torch's Muon, with matrices of one shape orthogonalised together.

torch takes them one by one, and a network has dozens of the same shape: their products are too small to fill a device,
or to be worth the call on a CPU.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cache
from typing import Any

import torch

from hotlap.processor import BFLOAT16, processor

_LISTS: Any = torch  # whose operations on lists of tensors are not declared


class Muon(torch.optim.Muon):
    """The same settings and state; a matrix that is alone of its shape is updated to the same bits.

    The learning rate is adjusted so that a matrix moves as far as under AdamW (arXiv 2502.16982).
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[Any, list[torch.Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[p.shape, p.dtype, p.device].append(p)
            for parameters in alike.values():
                self._update(parameters, group)

    def _update(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        """Update matrices of one shape."""
        gradients: Any = [p.grad for p in parameters]
        for p in parameters:
            self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        moments = [self.state[p]["momentum_buffer"] for p in parameters]
        _LISTS._foreach_lerp_(moments, gradients, 1 - group["momentum"])
        moved: Any = _LISTS._foreach_lerp(gradients, moments, group["momentum"]) if group["nesterov"] else moments
        whole = moved[0] if len(moved) == 1 else torch.stack(moved)
        found = orthogonal(whole, group["ns_coefficients"], group["ns_steps"], group["eps"])
        _LISTS._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        reach = 0.2 * math.sqrt(max(parameters[0].shape))
        _LISTS._foreach_add_(
            parameters, [found] if found.ndim == 2 else list(found.unbind()), alpha=-group["lr"] * reach
        )


def orthogonal(
    matrices: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> torch.Tensor:
    """About the nearest orthogonal matrices, by Newton and Schulz's iteration.

    Args:
        matrices: Shape (rows, columns) or (matrices, rows, columns).
        coefficients: Of its fifth-degree polynomial.
        steps: Of the iteration.
        eps: The smallest norm to divide by.
    """
    a, b, c = coefficients
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.to(arithmetic(matrices.device.type))
    x = x.mT if tall else x
    lone = x.ndim == 2
    x = x / (x.norm() if lone else x.norm(dim=(-2, -1), keepdim=True)).clamp(min=eps)
    add_product = torch.addmm if lone else torch.baddbmm
    for _ in range(steps):
        gram = x @ x.mT
        x = add_product(x, add_product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


@cache
def arithmetic(device: str) -> torch.dtype:
    """That of the iteration: torch's bfloat16, but float32 where this type of device has no such units."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.float32 if device == "cpu" and not BFLOAT16 & processor()[1] else torch.bfloat16
