"""The fast fetch path, and what must be known of a loader before it may be used. Standard library and torch only."""
