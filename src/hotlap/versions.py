"""What can be known of the user's torch and device without importing torch in the parent."""

from __future__ import annotations

import subprocess
from functools import cache

from hotlap.errors import HotlapError

# The version file is read, not the package imported: that takes milliseconds instead of seconds.
_PROBE = """
import importlib.util, pathlib, runpy
spec = importlib.util.find_spec("torch")
if spec is None or spec.origin is None:
    raise SystemExit(3)
print(runpy.run_path(str(pathlib.Path(spec.origin).parent / "version.py"))["__version__"])
"""

_BYTECODE = """
import importlib.util, os
spec = importlib.util.find_spec("torch")
origin = spec.origin if spec else None
print(bool(origin and not os.path.exists(importlib.util.cache_from_source(origin))))
"""


@cache
def has_bytecode(python: str) -> bool:
    """Whether an interpreter finds its torch compiled to bytecode; also where it has no torch."""
    answer = subprocess.run([python, "-c", _BYTECODE], capture_output=True, text=True, check=False)
    return answer.stdout.strip() != "True"


@cache
def torch_version(python: str) -> str:
    """Version of the torch that an interpreter would import.

    Raises:
        HotlapError: It has none.
    """
    answer = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise HotlapError("no-torch", f"{python} has no torch.", fix="name the training's interpreter with --python")
    return answer.stdout.strip()


def device_name(torch: str) -> str:
    """Name of the first accelerator that this torch build can drive, else "cpu"."""
    if "+cpu" in torch:
        return "cpu"
    try:
        import pynvml

        pynvml.nvmlInit()
        name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))
    except Exception:
        return "cpu"
    return name if isinstance(name, str) else name.decode()
