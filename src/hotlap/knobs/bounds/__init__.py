"""Baseline variants that show what an area could give at most: they train wrong, and no plan can hold one."""
