"""A module of settings, as scripts keep them beside."""

LEVEL = 0
