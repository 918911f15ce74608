"""Packages that only some commands need, and where to get them."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from hotlap.errors import HotlapError

_EXTRAS = {
    "optuna": ("no-optuna", "A race samples its settings with Optuna", "race"),
    "ray": ("no-ray", "Trials on a cluster are run by Ray", "ray"),
}
"""Package to the error's slug, what it is for, and hotlap's extra that brings it."""


def optional(name: str) -> Any:
    """The package, imported without its warnings.

    Raises:
        HotlapError: It is not installed beside hotlap; with where to get it.
    """
    slug, use, extra = _EXTRAS[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(name)
    except ImportError:
        what, fix = f"{use}, which is not installed beside hotlap.", f"install it with `pip install 'hotlap[{extra}]'`"
        raise HotlapError(slug, what, fix=fix) from None
