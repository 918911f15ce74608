"""One trial: a fresh process tree in a sandbox, watched, ended whole, and told how it ended."""
