"""Where a dataset's random transforms begin: what comes before them is the same whenever a sample is fetched.

The cut is found by running: the transforms are called one after the other, and the first that moves a generator is the
first that is not kept. That the rest of `__getitem__` only hands the result on is read off its source.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from time import perf_counter
from types import FunctionType
from typing import Any

import torch
from torch.nn.modules.module import _has_any_global_hook as has_any_global_hook

from hotlap.loader.definition import definition
from hotlap.loader.samples import Freezer, Node
from hotlap.loader.states import States
from hotlap.loader.tree import UnfitError

NAME = "transform"
_INNER = (
    ast.For,
    ast.While,
    ast.Try,
    ast.FunctionDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)
_FORWARDS = (
    """needs_unpacking = len(inputs) > 1
for transform in self.transforms:
    outputs = transform(*inputs)
    inputs = outputs if needs_unpacking else (outputs,)
return outputs""",
    """sample = inputs if len(inputs) > 1 else inputs[0]
for transform in self.transforms:
    sample = transform(sample)
return sample""",
)
"""How torchvision.transforms.v2.Compose goes through its parts, as of 0.16 and before."""


def chain(transform: Any) -> Sequence[Callable[[Any], Any]]:
    """What a transform does, one thing after the other: the parts of a Compose, or the transform itself."""
    if isinstance(transform, torch.nn.Module):
        return _modules(transform)
    parts, call = getattr(transform, "transforms", None), inspect.getattr_static(type(transform), "__call__", None)
    if type(parts) is list and isinstance(call, FunctionType) and _calls_in_turn(call):
        return parts
    return (transform,)


def _modules(module: torch.nn.Module) -> Sequence[Callable[[Any], Any]]:
    """The parts of a Sequential, or of a Compose that is a module, as torchvision's second version has it."""
    forward, parts = type(module).forward, getattr(module, "transforms", None)
    hooked = module._forward_hooks or module._forward_pre_hooks or module._compiled_call_impl is not None
    if (
        hooked
        or has_any_global_hook()
        or type(module).__call__ is not torch.nn.Module.__call__
        or "forward" in vars(module)
    ):
        return (module,)
    if type(module) is torch.nn.Sequential:
        return list(module)
    return parts if type(parts) is list and isinstance(forward, FunctionType) and _forwards(forward) else (module,)


@lru_cache(maxsize=64)
def _forwards(function: FunctionType) -> bool:
    found = definition(function)
    if isinstance(found, str) or found.args.vararg is None or found.args.vararg.arg != "inputs":
        return False
    body = found.body[1:] if ast.get_docstring(found) is not None else found.body
    return "\n".join(map(ast.unparse, body)) in _FORWARDS


@lru_cache(maxsize=64)  # asked at every sample
def _calls_in_turn(function: FunctionType) -> bool:
    """`for t in self.transforms: x = t(x)` and `return x`, as torchvision's Compose has it."""
    found = definition(function)
    if isinstance(found, str) or [a.arg for a in found.args.args][1:] == []:
        return False
    owner, value = (a.arg for a in found.args.args[:2])
    body = found.body[1:] if ast.get_docstring(found) is not None else found.body
    text = "\n".join(map(ast.unparse, body))
    names = {node.target.id for node in body if isinstance(node, ast.For) and isinstance(node.target, ast.Name)}
    return any(
        text == f"for {t} in {owner}.transforms:\n    {value} = {t}({value})\nreturn {value}" for t in names - {value}
    )


def why_not_cut(dataset: Any) -> str:
    """Nothing when the dataset's own transform is called once and its result only handed on, else why not."""
    kind, function = type(dataset), getattr(type(dataset), "__getitem__", None)
    transform = getattr(dataset, "__dict__", {}).get(NAME)
    if not callable(transform) or not bool(transform) or hasattr(kind, NAME):
        return "it has no transform"
    if not isinstance(function, FunctionType) or hasattr(kind, "__getattr__") or hasattr(kind, "__del__"):
        return f"{kind.__qualname__} is no plain class"
    found = definition(function)
    if isinstance(found, str):
        return found
    if len(found.args.args) != 2:
        return "__getitem__ takes more than one index"
    return "" if _only_hands_on(found) else "__getitem__ does more with its transform than to hand the result on"


def _only_hands_on(function: ast.FunctionDef) -> bool:
    owner, index = (a.arg for a in function.args.args)
    parents = {child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)}
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    if any(n.id == "super" or (n.id == owner and not isinstance(parents[n], ast.Attribute)) for n in names):
        return False
    uses = [parents[n] for n in names if n.id == owner and getattr(parents[n], "attr", "") == NAME]
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and node.func in uses]
    if len(calls) != 1 or not all(use is calls[0].func or _is_asked_for(use, parents) for use in uses):
        return False
    call = calls[0]
    if len(call.args) != 1 or call.keywords or any(isinstance(n, _INNER) for n in _around(call, parents, function)):
        return False
    whole: ast.expr = call
    holder = parents[call]
    if isinstance(holder, ast.IfExp) and holder.body is call:
        whole, holder = holder, parents[holder]
    given = {n.id for n in ast.walk(call) if isinstance(n, ast.Name)} - {owner}
    if not any(n.id == index and isinstance(n.ctx, ast.Store) for n in names):
        given.discard(index)  # a number, which no transform can change
    later = [n for n in names if (n.lineno, n.col_offset) > (whole.end_lineno or 0, whole.end_col_offset or 0)]
    handed_on = _is_returned(whole, parents)
    if isinstance(holder, ast.Assign) and len(holder.targets) == 1 and isinstance(holder.targets[0], ast.Name):
        result = holder.targets[0].id
        given.discard(result)
        handed_on = all(_is_returned(n, parents) for n in later if n.id == result)
    return handed_on and not given & {n.id for n in later}


def _around(node: ast.AST, parents: dict[ast.AST, ast.AST], top: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    while (node := parents[node]) is not top:
        found.append(node)
    return found


def _is_asked_for(use: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """`if self.transform:` or `if self.transform is not None:`."""
    test = parents[use]
    if isinstance(test, ast.Compare):
        none = test.left is use and len(test.ops) == 1 and isinstance(test.ops[0], (ast.Is, ast.IsNot))
        if not none or ast.unparse(test.comparators[0]) != "None":
            return False
        use, test = test, parents[test]
    return isinstance(test, (ast.If, ast.IfExp)) and test.test is use


def _is_returned(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """As an item of the nest that `__getitem__` returns."""
    above = parents[node]
    while isinstance(above, (ast.Tuple, ast.List, ast.Dict)):
        above = parents[above]
    return isinstance(above, ast.Return)


class Watched:
    """Stands for a dataset's transform in one fetch, and freezes what the first random part is given.

    Args:
        transform: The dataset's own.
        begun: The generators when the fetch began.
        expected: Which part will be the first random one, the number of parts for none; None when that is not known.
    """

    def __init__(self, transform: Any, begun: States, expected: int | None) -> None:
        self.parts = chain(transform)
        self._begun = begun
        self._expected = expected
        self._frozen: tuple[Freezer, Node] | None = None
        self._calls = 0
        self.cut: int | None = None
        self.reached_s = 0.0
        self.result: Any = None
        self.ended: States | None = None

    def __call__(self, value: Any) -> Any:
        """What the transform makes of it."""
        self._calls += 1
        for place, part in enumerate(self.parts):
            looks = self.cut is None and self._expected in (None, place)
            if looks:
                self.reached_s, self._frozen = perf_counter(), None
                if self._expected is None or States() == self._begun:
                    with suppress(Exception):  # UnfitError, or a strange object's own; then there is no cut
                        freezer = Freezer(alone=True)
                        self._frozen = freezer, freezer.node(value)
            value = part(value)
            if looks and (self._expected is not None or States() != self._begun):
                self.cut = place
        self.result, self.ended = value, States()
        return value

    def frozen(self, after: States) -> tuple[Freezer, Node]:
        """What was set aside.

        Args:
            after: The generators when the fetch was over.

        Raises:
            UnfitError: The sample cannot be cut here.
        """
        if self._calls != 1 or self._frozen is None or self.ended != after:
            raise UnfitError("fetching draws randomness outside of its transform, or before what can be kept")
        return self._frozen
