"""Reports: pure functions of a result. The caller writes them to the terminal or to disk."""
