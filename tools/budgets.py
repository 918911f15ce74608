#!/usr/bin/env python3
"""Hold the line budgets: modules 300, knobs, probes and audits 80, tune.py 200, bodies of functions 40."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "hotlap"
MODULE, PLUG_IN, FUNCTION = 300, 80, 40
SPECIAL = {
    "tune.py": 200,
    "knobs/knob.py": 100,  # the interface, which is no plug-in
    "knobs/__init__.py": 120,  # a line for each
}


def over_budget(source: Path = SOURCE) -> list[str]:
    """One line for each module or function that is too long."""
    found: list[str] = []
    for path in sorted(source.rglob("*.py")):
        name, text = path.relative_to(source), path.read_text(encoding="utf-8")
        plug_in = name.parts[0] in ("knobs", "probes", "audits")
        limit = SPECIAL.get(str(name), PLUG_IN if plug_in else MODULE)
        lines = len(text.splitlines())
        if lines > limit:
            found.append(f"{name}: {lines} lines, {limit} allowed")
        found += [
            f"{name}:{node.lineno} {node.name}: a body of {body_lines(node)} lines, {FUNCTION} allowed"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and body_lines(node) > FUNCTION
        ]
    return found


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


if __name__ == "__main__":
    complaints = over_budget()
    print(*complaints, sep="\n", end="\n" if complaints else "")
    sys.exit(bool(complaints))
