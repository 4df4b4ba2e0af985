"""Rows as a driver gives them."""

from collections.abc import Sequence
from typing import Any

Row = Sequence[Any]
"""The values of one row, in the order of the statement's columns, in the driver's own types."""
