"""When an optimizer cannot be swapped, each with a clause that says why."""

from __future__ import annotations

import sys
from typing import Any

import torch

SEVERAL = "the script steps several optimizers in turn, and which of them to swap cannot be told"
WRAPS = "the script's optimizer wraps another one, which would be swapped as well"
CLOSURES = "the script's optimizer evaluates its closure more than once per step"
NO_MATRIX = "the optimizer owns no matrix of a hidden layer"
NO_LOADER = "the script trains on no DataLoader of known length, so that an epoch has no end to be seen"
NO_SUCH_LOADER = "the script builds no DataLoader like the one whose batch size was raced"
NO_GROWTH = "no rule is known by which the learning rate of {} follows the batch size"
NO_MODE = "the model has BatchNorm, whose statistics would be those of other weights than are evaluated"


class RefusalError(Exception):
    """The rule cannot take the place of the script's; the text is a clause."""


def refuse(holds: bool, clause: str) -> None:
    """Refuse when that holds.

    Raises:
        RefusalError: With the clause.
    """
    if holds:
        raise RefusalError(clause)


def check(optimizer: Any) -> None:
    """Refuse an optimizer that no rule may take the place of; right before its first step, when gradients are there.

    Raises:
        RefusalError: With the reason.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    refuse(bool(clause := keeps_closure(optimizer)), clause)
    refuse(any(_is_sharded(p) for p in parameters), "the parameters are sharded over several processes")
    refuse(any(gradient.is_sparse for gradient in gradients), "its gradients are sparse")
    refuse(any(p.is_complex() for p in parameters), "its parameters are complex")
    refuse(any(group.get("maximize") for group in optimizer.param_groups), "it maximizes")
    refuse(any(group.get("differentiable") for group in optimizer.param_groups), "its step is differentiated")
    refuse(_is_compiled(), "the script compiles its optimizer's step")
    refuse(_is_captured(gradients), "the step is captured in a CUDA graph")


def keeps_closure(optimizer: Any) -> str:
    """Why it must be handed its closure, which it calls as often as it likes; "" when it need not."""
    if any("LBFGS" in kind.__name__ for kind in type(optimizer).__mro__):
        return CLOSURES
    return WRAPS if any(isinstance(value, torch.optim.Optimizer) for value in vars(optimizer).values()) else ""


def _is_sharded(p: Any) -> bool:
    kind = f"{type(p).__module__}.{type(p).__qualname__}"
    return kind.startswith(("torch.distributed.", "deepspeed.")) or hasattr(p, "ds_id") or "FlatParameter" in kind


def _is_compiled() -> bool:
    """Whether compiled code is what calls the step."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.endswith("_dynamo/eval_frame.py") and frame.f_code.co_name == "compile_wrapper":
            return True
        frame = frame.f_back
    return False


def _is_captured(gradients: list[Any]) -> bool:
    return any(gradient.is_cuda for gradient in gradients) and torch.cuda.is_current_stream_capturing()
