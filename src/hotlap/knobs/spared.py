"""Calls of the script's that are answered without being made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_OTHERS = ("torch", "triton")


def spare(host: Host, owner: Any, name: str, answer: object = None) -> None:
    """Answer calls of a function at once, but for those of torch and its compilers, which need what it does.

    Args:
        host: Takes it back.
        owner: The module that has the function.
        name: Of the function.
        answer: What the script is given.
    """

    def sparing(original: Callable[..., Any]) -> Callable[..., Any]:
        def spared(*args: Any, **kwargs: Any) -> Any:
            caller = str(sys._getframe(1).f_globals.get("__name__", ""))
            return original(*args, **kwargs) if caller.split(".")[0] in _OTHERS else answer

        return spared

    host.wrap(owner, name, sparing)
