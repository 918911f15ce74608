"""Does it learn the same? The gates and the verdict."""
