"""What to try next: pure functions and generators of requests, which somebody else measures."""
