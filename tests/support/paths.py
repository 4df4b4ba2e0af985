"""Paths of directories in the source tree."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
CLIENTS = ROOT / "clients"
