"""Knobs of this area, one file each."""
