"""Reads a dataset's `__getitem__`: is it nothing but rows or windows of tensors, and which?

Only a short list of forms is understood; everything else is refused with the expression at fault.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any

import torch

from hotlap.loader.definition import definition
from hotlap.loader.movable import globals_used
from hotlap.loader.tree import INDEX, Astype, Global, Linear, Pack, Row, Source, Table, Tree, UnfitError

_NUMBERS = ("int", "float")
_CASTS = {
    "float": torch.float32,
    "double": torch.float64,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "long": torch.int64,
    "int": torch.int32,
    "short": torch.int16,
    "bool": torch.bool,
}
_ARRAYS = ("bool_", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
_MAKERS = ("from_numpy", "as_tensor", "tensor")


@dataclass
class Reading:
    """What `__getitem__` returns, and on which conditions that was read off."""

    function: Any
    tree: Tree = INDEX
    absent: list[str] = field(default_factory=list)
    """Attributes that must be None, as they were: `if self.transform is not None: ...`."""


def read(dataset: Any) -> Reading:
    """What the dataset's `__getitem__` returns.

    Raises:
        UnfitError: It does something that is not understood.
    """
    kind = type(dataset)
    function = getattr(kind, "__getitem__", None)
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        raise UnfitError(f"{kind.__qualname__}.__getitem__ is not a plain Python method")
    if hasattr(kind, "__getitems__"):
        raise UnfitError(f"{kind.__qualname__} has a __getitems__ of its own")
    if hasattr(kind, "__getattr__") or kind.__getattribute__ is not object.__getattribute__:
        raise UnfitError(f"{kind.__qualname__} computes its attributes")
    if any(name in _attributes(dataset) for name in ("__getitem__", "__getitems__")):
        raise UnfitError(f"this {kind.__qualname__} carries a patched __getitem__")
    return _Reader(dataset, function).read()


def _attributes(dataset: Any) -> dict[str, Any]:
    try:
        return vars(dataset)
    except TypeError:
        raise UnfitError(f"{type(dataset).__qualname__} keeps its attributes in slots") from None


class _Reader:
    def __init__(self, dataset: Any, function: FunctionType) -> None:
        self.dataset = dataset
        self.reading = Reading(function)
        self.known: dict[str, Tree] = {}
        self.self_name = ""

    def read(self) -> Reading:
        found = definition(self.reading.function)
        if isinstance(found, str):
            raise UnfitError(found)
        given = found.args
        names = [a.arg for a in given.posonlyargs + given.args]
        if len(names) != 2 or given.vararg or given.kwarg or given.kwonlyargs:
            raise UnfitError("__getitem__ takes more than one index")
        self.self_name, index = names
        self.known[index] = INDEX
        for statement in found.body:
            if isinstance(statement, ast.Return) and statement.value is not None:
                self.reading.tree = self.value(statement.value)
                return self.reading
            self.statement(statement)
        raise UnfitError("__getitem__ returns nothing")

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # the docstring
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            self.assign(node, node.targets[0], node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
            self.assign(node, node.target, node.value)
        elif not (isinstance(node, ast.If) and not node.orelse and self.never(node.test)):
            raise _refusal(node)

    def assign(self, node: ast.stmt, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            if target.id == self.self_name:
                raise _refusal(node)
            self.known[target.id] = self.value(value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for name, tree in zip(target.elts, [self.value(item) for item in value.elts]):
                if not isinstance(name, ast.Name) or name.id == self.self_name:
                    raise _refusal(node)
                self.known[name.id] = tree
        else:
            raise _refusal(node)

    def never(self, test: ast.expr) -> bool:
        """`if self.transform:` and `if self.transform is not None:` where it is None."""
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.IsNot):
            against = test.comparators[0]
            if not (isinstance(against, ast.Constant) and against.value is None):
                return False
            test = test.left
        if not isinstance(test, ast.Attribute):
            return False
        source = self.value(test)
        if not isinstance(source, Source) or vars(self.dataset)[source.attribute] is not None:
            return False
        self.reading.absent.append(source.attribute)
        return True

    def value(self, node: ast.expr) -> Tree:
        """The meaning of an expression."""
        if isinstance(node, ast.Name) and node.id in self.known:
            return self.known[node.id]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == self.self_name:
            return Source(self.attribute(node.attr))
        if isinstance(node, ast.Subscript):
            return self.subscript(node)
        if isinstance(node, (ast.Tuple, ast.List)) and node.elts:
            return Pack(tuple(self.part(item) for item in node.elts))
        if isinstance(node, ast.Dict) and node.keys:
            keys = tuple(key.value for key in node.keys if isinstance(key, ast.Constant))
            if len(set(keys)) == len(node.keys):
                return Table(keys, tuple(self.part(item) for item in node.values))
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, (ast.BinOp, ast.UnaryOp)):
            try:
                return self.place(node)
            except _MoreThanRowsError:  # of a part of it, such as of `x` in `x * 2`
                raise _refusal(node) from None
        raise _refusal(node)

    def subscript(self, node: ast.Subscript) -> Row:
        """`self.x[index]`, `self.x[place : place + self.length]`, and a slice of one of these."""
        of, index = self.value(node.value), node.slice
        if not isinstance(index, ast.Slice):
            start = self.place(index)
            if isinstance(of, Source) and start.factor != 0:
                return Row(of.attribute, start)
        elif index.step is None:
            lower, upper = (end and self.place(end) for end in (index.lower, index.upper))
            if isinstance(of, Source) and lower is not None and upper is not None and lower.factor != 0:
                return Row(of.attribute, lower, upper)
            if isinstance(of, Row) and all(end is None or end.factor == 0 for end in (lower, upper)):
                return replace(of, cuts=(*of.cuts, (lower, upper)))
        raise _refusal(node)

    def place(self, node: ast.expr) -> Linear:
        """A number, computed from the index by sums and products."""
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return Linear(0, node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return Linear(0, 0).plus(self.place(node.operand), -1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
            return self.place(node.left).plus(self.place(node.right), 1 if isinstance(node.op, ast.Add) else -1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            return self.place(node.left).times(self.place(node.right))
        if isinstance(node, ast.Name) and self.is_global(node.id):
            return Linear(0, Global(node.id, self.reading.function.__globals__))
        found = self.value(node) if isinstance(node, (ast.Name, ast.Attribute)) else None
        if isinstance(found, Source):
            return Linear(0, found)
        if isinstance(found, Linear):
            return found
        raise _refusal(node)

    def part(self, node: ast.expr) -> Tree:
        tree = self.value(node)
        if isinstance(tree, Source) or (isinstance(tree, Linear) and tree is not INDEX):
            raise _refusal(node)
        return tree

    def attribute(self, name: str) -> str:
        if name.startswith("__"):
            raise UnfitError(f"self.{name} is a private name")
        if inspect.getattr_static(type(self.dataset), name, None) is not None:
            raise UnfitError(f"self.{name} is a property or an attribute of the class")
        if name not in vars(self.dataset):
            raise UnfitError(f"self.{name} is not an attribute of the dataset")
        return name

    def call(self, node: ast.Call) -> Tree:
        function, arguments = node.func, node.args
        if isinstance(function, ast.Name) and function.id in _NUMBERS and self.is_builtin(function.id):
            if len(arguments) == 1 and not node.keywords:
                return self.changed(node, arguments[0], function.id)
        elif isinstance(function, ast.Attribute) and not arguments and not node.keywords:
            if function.attr == "item":
                return self.changed(node, function.value, "item")
            if function.attr in _CASTS:
                return self.changed(node, function.value, _CASTS[function.attr])
        elif isinstance(function, ast.Attribute) and len(arguments) == 1:
            if function.attr == "astype" and not node.keywords:
                return self.changed(node, function.value, self.astype(node))
            if function.attr in _MAKERS:
                return self.made(node, function)
        raise _refusal(node)

    def made(self, node: ast.Call, function: ast.Attribute) -> Tree:
        if not self.is_module(function.value, "torch"):
            raise _refusal(node)
        return self.changed(node, node.args[0], function.attr, *self.dtype(node))

    def astype(self, node: ast.Call) -> Astype:
        to = node.args[0]
        if isinstance(to, ast.Attribute) and to.attr in _ARRAYS and self.is_module(to.value, "numpy"):
            return Astype(getattr(torch, to.attr.rstrip("_")))
        raise _refusal(node)

    def changed(self, node: ast.expr, of: ast.expr, *changes: Any) -> Row:
        row = self.value(of)
        if not isinstance(row, Row):
            raise _refusal(node)
        return replace(row, changes=row.changes + changes)

    def dtype(self, node: ast.Call) -> tuple[torch.dtype, ...]:
        if not node.keywords:
            return ()
        keyword = node.keywords[0]
        if len(node.keywords) == 1 and keyword.arg == "dtype" and isinstance(keyword.value, ast.Attribute):
            named = getattr(torch, keyword.value.attr, None)
            if self.is_module(keyword.value.value, "torch") and isinstance(named, torch.dtype):
                return (named,)
        raise _refusal(node)

    def is_builtin(self, name: str) -> bool:
        return self.is_global(name) and name not in self.reading.function.__globals__ and hasattr(builtins, name)

    def is_module(self, node: ast.expr, module: str) -> bool:
        name = node.id if isinstance(node, ast.Name) else ""
        found = self.reading.function.__globals__.get(name)
        return self.is_global(name) and found is not None and found is sys.modules.get(module)

    def is_global(self, name: str) -> bool:
        """Whether the code that runs takes the name from its module, or from Python: no local and no enclosing one."""
        return name not in self.known and name in globals_used(self.reading.function.__code__)


class _MoreThanRowsError(UnfitError):
    pass


def _refusal(node: ast.AST) -> _MoreThanRowsError:
    text = ast.unparse(node).splitlines()[0]
    return _MoreThanRowsError(
        f"__getitem__ does more than take rows: `{text if len(text) <= 60 else text[:57] + '...'}`"
    )
