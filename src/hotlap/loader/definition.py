"""The source of a function, checked against the code that runs: a script may be edited while it runs."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType


def definition(function: FunctionType) -> ast.FunctionDef | str:
    """The syntax tree of a function, provided that it is the code that runs; else why there is none.

    The whole file is compiled: how a call is compiled depends on what the module imports.
    """
    return _definition(function.__code__)


@lru_cache(maxsize=64)  # asked anew at every epoch
def _definition(running: CodeType) -> ast.FunctionDef | str:
    try:
        module = ast.parse("".join(inspect.findsource(running)[0]))
        compiled = compile(module, "<read>", "exec", dont_inherit=True)
    except (OSError, TypeError, SyntaxError, ValueError):
        return "the source of __getitem__ cannot be read"
    for node in ast.walk(module):
        if not isinstance(node, ast.FunctionDef) or node.decorator_list or node.lineno != running.co_firstlineno:
            continue
        if any(code == running for code in _codes(compiled)):
            return node
    return "the source of __getitem__ is not the code that runs"


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
