"""hotlap makes an unmodified PyTorch training script fast, and proves that it still learns the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotlap.loader.data_loader import DataLoader as DataLoader

__version__ = "0.1.0"
__all__ = ["DataLoader", "__version__"]


def __getattr__(name: str) -> Any:
    """`hotlap.DataLoader`, which needs torch, where the command line must not import it."""
    if name != "DataLoader":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return importlib.import_module("hotlap.loader.data_loader").DataLoader
