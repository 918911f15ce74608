"""Where the time of fetching goes, by line of the script's own code.

A line is charged with all that it calls, but for what has rows of its own: other lines of the script, the members of a
chain of transforms, which are told apart by class, and the collation.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from time import perf_counter_ns
from types import FrameType
from typing import Any

from torch.utils.data import Dataset

Place = tuple[str, str, int, str]
"""Stage ("sample" or "collate"), file, line and function; file and line are empty for what is no line."""

FETCHER: Place = ("sample", "", 0, "torch's fetcher")
_FETCHING = ("__getitem__", "__getitems__", "__iter__", "__next__")
_CALLING = ("__call__", "_wrapped_call_impl", "_call_impl", "forward")
_HERE = str(Path(__file__).parents[1])  # hotlap's own code
_LIBRARIES = ("<", _HERE + os.sep, *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")))
_PACKAGES = (f"site-packages{os.sep}", f"dist-packages{os.sep}")


@lru_cache(maxsize=4096)
def is_own(file: str) -> bool:
    """Whether the code in it was written for this training: it is in no library."""
    return not file.startswith(_LIBRARIES) and not any(folder in file for folder in _PACKAGES)


class Lines:
    """Follows what is called, line by line.

    Args:
        dataset: What is fetched from; one of a library is followed through its own lines.
        collate: The function that makes a batch of samples.

    Attributes:
        spent_ns: Time of each place, without the following itself.
    """

    def __init__(self, dataset: Any, collate: Callable[..., Any]) -> None:
        self.spent_ns: Counter[Place] = Counter()
        self._collate = getattr(getattr(collate, "func", collate), "__code__", None)
        self._dataset = dataset
        self._members: dict[int, Any] = {}
        self._here = FETCHER
        self._outer: list[Place] = []
        self._since = 0

    def follow(self, act: Callable[[], Any]) -> Any:
        """Call, and charge the time to where it goes."""
        previous, self._here = sys.gettrace(), FETCHER
        self._outer.clear()
        self._since = perf_counter_ns()
        sys.settrace(self._called)
        try:
            return act()
        finally:
            sys.settrace(previous)
            self._charge()

    def _charge(self) -> None:
        self.spent_ns[self._here] += perf_counter_ns() - self._since

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        """The interpreter calls a function."""
        self._charge()
        place = self._place(frame)
        follows = None
        if place is not None:
            self._outer.append(self._here)
            self._here = place
            frame.f_trace_lines = bool(place[1])
            follows = self._moved
        self._since = perf_counter_ns()
        return follows

    def _moved(self, frame: FrameType, event: str, arg: Any) -> Any:
        """A function that is followed comes to another line, or returns."""
        self._charge()
        if event == "line":
            self._here = (self._here[0], frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        elif event == "return" and self._outer:
            self._here = self._outer.pop()
        self._since = perf_counter_ns()
        return self._moved

    def _place(self, frame: FrameType) -> Place | None:
        """Where a called function's time belongs; None for what its caller is charged with."""
        code, stage = frame.f_code, self._here[0]
        if code is self._collate:
            stage = "collate"
            if not is_own(code.co_filename):
                return (stage, "", 0, code.co_name)
        if code.co_name in _CALLING and (member := self._member(frame)):
            return None if self._here == member else member
        if self._here != FETCHER and not self._here[1]:
            return None  # within a member of a chain, or in torch's own collation
        if is_own(code.co_filename) or (code.co_name in _FETCHING and self._fetches(frame)):
            return (stage, code.co_filename, frame.f_lineno, code.co_name)
        return None

    def _fetches(self, frame: FrameType) -> bool:
        """Whether it is the dataset that is called, or one that it wraps."""
        return (called := _first(frame)) is self._dataset or isinstance(called, Dataset)

    def _member(self, frame: FrameType) -> Place | None:
        """The transform whose call this is, when a chain holds it; the members of a chain are learnt on the way."""
        called = _first(frame)
        chain = getattr(called, "transforms", None)
        if isinstance(chain, (list, tuple)):
            self._members.update({id(member): member for member in chain})
            return None if id(called) not in self._members else ("sample", "", 0, type(called).__name__)
        return ("sample", "", 0, type(called).__name__) if id(called) in self._members else None


def _first(frame: FrameType) -> Any:
    """The first argument of a function that was just called."""
    names = frame.f_code.co_varnames
    return frame.f_locals.get(names[0]) if names and frame.f_code.co_argcount else None


def statement(file: str, line: int) -> tuple[int, str]:
    """The first line of the statement that a line is a part of, and its text."""
    start = _statements(file).get(line, line)
    text = linecache.getline(file, start).strip()
    return start, f"{text} \u2026" if _statements(file).get(start + 1) == start else text


@lru_cache(maxsize=256)
def _statements(file: str) -> dict[int, int]:
    """Line to the line at which its statement starts; a compound one ends with its head."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    starts: dict[int, int] = {}
    for node in ast.walk(tree):  # outer ones come first
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            starts.update(dict.fromkeys(range(node.lineno, last + 1), node.lineno))
    return starts
