"""hotlap makes an unmodified PyTorch training script fast, and proves that it still learns the same."""

__version__ = "0.1.0"
__all__ = ["__version__"]
