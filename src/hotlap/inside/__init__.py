"""What runs in the user's own process. Standard library and torch only; Python 3.10 syntax."""
