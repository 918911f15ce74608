"""What the script's own code says, for what it will do only later."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

from hotlap.loader.lines import is_own

_LARGEST = 1 << 20  # bytes of a file that somebody wrote


def is_written(pattern: str) -> bool:
    """Whether a regular expression is found in a file of the script's: its own, or that of a module beside it."""
    files = {file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    return any(re.search(pattern, _text(Path(file))) for file in files if file.endswith(".py") and is_own(file))


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace") if path.stat().st_size < _LARGEST else ""
    return ""
