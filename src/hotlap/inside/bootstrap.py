"""From the start of the user's process to the moment torch has been imported."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

_OLDEST_TORCH = (2, 11)


def enter() -> None:
    """Arrange for hotlap to install itself once torch is there. Called by the start-up folder."""
    if _is_compile_worker() or os.environ.get("HOTLAP_OFF"):
        return
    with open(os.environ["HOTLAP_TASK"], encoding="utf-8") as file:
        task = json.load(file)
    if os.environ.get("HOTLAP_WRITE_GUARD"):
        from hotlap.inside import write_guard

        write_guard.install()
    if "torch" in sys.modules:  # a .pth file imported it before us
        _installed(task)
    else:
        sys.meta_path.insert(0, _TorchWaiter(task))  # type: ignore[arg-type]


def _is_compile_worker() -> bool:
    """Inductor's compile workers inherit the environment, and are nothing of the training's."""
    place = os.path.join("torch", "_inductor", "compile_worker")
    return any(place in argument for argument in sys.orig_argv)


def _installed(task: dict[str, Any]) -> None:
    """Install hotlap into the process, now that torch is complete."""
    try:
        import torch

        version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
        if version < _OLDEST_TORCH:
            _refuse(f"torch {torch.__version__} is too old: hotlap needs 2.11 or newer")
            return
        from hotlap.inside import session

        session.start(task)
    except Exception as error:  # the user's run comes first; the parent sees that nothing was installed
        _refuse(f"could not install itself: {error!r}")


def _refuse(reason: str) -> None:
    print(f"hotlap: {reason}", file=sys.stderr)
    try:
        from hotlap.inside.journal import Journal

        Journal(os.environ.get("HOTLAP_JOURNAL")).write("refused", reason=reason)
    except OSError:
        pass


class _TorchWaiter:
    """A finder that lets torch be found as always, and acts after its module has run.

    It stays until then: libraries ask for the spec to learn whether torch is there, long before they import it.
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._asking = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec of torch with a loader that tells us when it is done; nothing for any other module."""
        if name != "torch" or self._asking:
            return None
        import importlib.util

        self._asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader: Any) -> None:
        execute = loader.exec_module

        def execute_then_install(module: Any) -> None:
            del loader.exec_module  # the loader is the user's again
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)  # type: ignore[arg-type]
                _installed(self._task)

        # On the instance, so that torch.__loader__ keeps its type.
        loader.exec_module = execute_then_install
