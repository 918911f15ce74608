"""Tiny trainings for tests, each an ordinary script."""

from pathlib import Path

SCRIPTS = Path(__file__).parent
