"""The optimizers that do the work: torch's own where it has the rule, pytorch-optimizer's otherwise.

An engine owns its parameter groups; each stems from one group of the script's and is kept in step with it. Rules for
matrices are given views of the weights: filters flattened, packed weights taken apart.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import torch

from hotlap.inside.race.muon import Muon
from hotlap.inside.race.refusals import RefusalError, refuse
from hotlap.race.rules import RULES

LIBRARY = "pytorch_optimizer"
_REST = "adamw"  # for what is no matrix
_FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
_TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    "gradient-descent": ("SGD", {}),
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"nesterov": True, "momentum": 0.9}),
    "adagrad": ("Adagrad", {}),
    "rmsprop": ("RMSprop", {}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "nadamw": ("NAdam", {"decoupled_weight_decay": True}),
    "radam": ("RAdam", {"decoupled_weight_decay": True}),
    "adafactor": ("Adafactor", {}),
}
_PYTORCH_OPTIMIZER: dict[str, tuple[str, dict[str, Any]]] = {
    "lion": ("Lion", {}),
    "soap": ("SOAP", {"precondition_frequency": 10, "max_precondition_dim": 2048}),
    # Grafted to the step length of RMSprop, which is Adam's.
    "shampoo": (
        "ScalableShampoo",
        {
            "graft_type": 3,
            "moving_average_for_momentum": True,
            "decoupled_weight_decay": True,
            "preconditioning_compute_steps": 50,
            "no_preconditioning_for_layers_with_dim_gt": 1024,
        },
    ),
    "schedule-free-adamw": ("ScheduleFreeAdamW", {}),
    "schedule-free-sgd": ("ScheduleFreeSGD", {}),
    "prodigy": ("Prodigy", {}),
}


def class_of(rule: str) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The class behind a rule, and what it is always built with.

    Raises:
        RefusalError: It is in pytorch-optimizer, which the user's interpreter does not have.
    """
    if rule == "muon":
        return Muon, {}
    if rule in _TORCH:
        name, options = _TORCH[rule]
        return getattr(torch.optim, name), options
    name, options = _PYTORCH_OPTIMIZER[rule]
    try:
        library = importlib.import_module(LIBRARY)
    except ImportError:
        raise RefusalError(
            f"{RULES[rule].words} comes from pytorch-optimizer, which the script's interpreter does not have"
        ) from None
    return getattr(library, name), options


@dataclass
class Link:
    """A group of an engine, the group of the script's that it follows, and whose rule it takes its settings for."""

    group: dict[str, Any]
    source: int
    rule: str

    @property
    def key(self) -> str:
        """The same for the group that takes its place when the engines are built again."""
        return f"{self.source} {self.rule}"


@dataclass
class Piece:
    """A parameter that an engine sees as one or several matrices, which are views of it."""

    parameter: torch.Tensor
    views: list[torch.nn.Parameter]
    address: int

    @classmethod
    def of(cls, parameter: torch.Tensor, count: int) -> Piece:
        """Take a weight apart into so many matrices, one upon another."""
        views = [torch.nn.Parameter(view) for view in _matrices(parameter.detach(), parameter, count)]
        refuse(views[0].data_ptr() != parameter.data_ptr(), "a weight lies in memory as no matrix can be seen in it")
        return cls(parameter, views, parameter.data_ptr())

    def fill(self) -> None:
        """Hand the gradient on to the views."""
        gradient = self.parameter.grad
        parts = [None] * len(self.views) if gradient is None else _matrices(gradient, self.parameter, len(self.views))
        for view, part in zip(self.views, parts):
            view.grad = part


def _matrices(tensor: torch.Tensor, like: torch.Tensor, count: int) -> list[torch.Tensor]:
    """Views of a weight, or of its gradient in the same order of columns."""
    rows = like.shape[0]
    dense = like.stride()[0] * rows == like.numel()
    # In channels-last the last dimension is not the fastest one, and only this order of columns is a view.
    order = sorted(range(1, like.ndim), key=lambda d: -like.stride()[d]) if dense else range(1, like.ndim)
    return list(tensor.permute(0, *order).reshape(rows, -1).chunk(count))


@dataclass
class Engines:
    """What takes the place of one optimizer's update.

    Attributes:
        links: Every group of every engine.
        pieces: The weights of which an engine sees views.
    """

    optimizers: list[torch.optim.Optimizer] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    parameters: list[list[int]] = field(default_factory=list)
    """Of each of the script's groups, by identity."""

    def add(self, rule: str, parts: list[tuple[int, list[Any]]], groups: list[dict[str, Any]]) -> None:
        """One more engine.

        Args:
            rule: Its rule.
            parts: Place of the script's group, and the tensors of this engine in it.
            groups: The script's.
        """
        kind, options = class_of(rule)
        fused = {"fused": True} if has_fused(kind, groups) else {}
        make: Any = kind  # every optimizer takes its groups and then its options
        engine = make([{"params": tensors} for _, tensors in parts], **options, **fused)
        self.optimizers.append(engine)
        self.links += [Link(group, place, rule) for group, (place, _) in zip(engine.param_groups, parts)]

    def are_of(self, groups: list[dict[str, Any]]) -> bool:
        """Whether the script's groups hold what they did, and no weight was moved since its views were made."""
        moved = any(piece.parameter.data_ptr() != piece.address for piece in self.pieces)
        return not moved and self.parameters == _identities(groups)

    def step(self) -> None:
        """Update every parameter by the gradients at hand, without the hooks around an optimizer's step."""
        for piece in self.pieces:
            piece.fill()
        for engine in self.optimizers:
            unhooked(type(engine))(engine)
        for piece in self.pieces:
            for view in piece.views:
                view.grad = None

    def share_state(self, state: dict[Any, Any]) -> None:
        """Keep the engines' state in the script's optimizer, and go on from what is there."""
        views = {id(view): (piece, place) for piece in self.pieces for place, view in enumerate(piece.views)}
        for engine in self.optimizers:
            for tensor in [p for group in engine.param_groups for p in group["params"]]:
                if id(tensor) in views:
                    piece, place = views[id(tensor)]
                    parts = state[piece.parameter].setdefault("matrices", [{} for _ in piece.views])
                    parts[place] = parts[place] or engine.state[tensor]
                    engine.state[tensor] = parts[place]
                else:
                    state[tensor] = state[tensor] or engine.state[tensor]
                    engine.state[tensor] = state[tensor]


def _identities(groups: list[dict[str, Any]]) -> list[list[int]]:
    return [[id(p) for p in group["params"]] for group in groups]


def build(rule: str, groups: list[dict[str, Any]], pieces: dict[int, int]) -> Engines:
    """The engines of a rule for the script's parameter groups.

    Args:
        rule: An id of the table.
        groups: The script's.
        pieces: For a rule for matrices, of how many each parameter is made, by its id.
    """
    engines = Engines(parameters=_identities(groups))
    matrices: list[tuple[int, list[Any]]] = []
    rest: list[tuple[int, list[Any]]] = []
    for place, group in enumerate(groups):
        own = [Piece.of(p, pieces[id(p)]) for p in group["params"] if id(p) in pieces]
        others = [p for p in group["params"] if id(p) not in pieces]
        engines.pieces += own
        if own:
            matrices.append((place, [view for piece in own for view in piece.views]))
        if others:
            rest.append((place, others))
    if matrices:
        engines.add(rule, matrices, groups)
    if rest:
        engines.add(_REST if RULES[rule].family == "matrix" else rule, rest, groups)
    return engines


def has_fused(kind: type[torch.optim.Optimizer], groups: list[dict[str, Any]]) -> bool:
    """Whether a class has a fused update for these groups, and the script did not ask for another one."""
    if kind.__module__.partition(".")[0] != "torch" or kind.__name__ not in _FUSED:
        return False
    asked = any(group.get("fused") is False or group.get("foreach") or group.get("capturable") for group in groups)
    tensors = [p for group in groups for p in group["params"]]
    if kind is torch.optim.Adagrad and any(p.is_cuda for p in tensors):
        return False
    return not asked and all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in tensors)


def unhooked(kind: type[torch.optim.Optimizer]) -> Any:
    """A class's own step, without the hooks that torch puts around it once one has been built."""
    step: Any = kind.step
    return step.__wrapped__ if getattr(step, "hooked", False) else step
