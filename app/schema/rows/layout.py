"""Layouts of typed rows: each column's index, and its conversion to JSON or to a cursor's key, for each database."""

from collections.abc import Mapping
from functools import cache

from app.execution.columns import Item, Layout, Transform
from app.models.database.row import Stored, TypedRow

_SHOWN = {
    Stored.HEX_UUID: Transform.DASHES,
    Stored.DRIVER_UUID: Transform.TEXT,
    Stored.SPACED_TIME: Transform.ISO_TIME,
    Stored.NUMBER_FLAG: Transform.TRUTH,
}
_KEYS = {Stored.DRIVER_UUID: Transform.HEXADECIMAL, Stored.SPACED_TIME: Transform.ISO_TIME}


@cache
def layout_of(row_class: type[TypedRow]) -> Layout:
    """Return the layout for JSON values. JSON columns stay texts."""
    return _layout(row_class, _SHOWN)


@cache
def key_layout_of(row_class: type[TypedRow]) -> Layout:
    """Return the layout for keys of cursors, in which UUIDs have no dashes."""
    return _layout(row_class, _KEYS)


def _layout(row_class: type[TypedRow], transforms: Mapping[Stored, Transform]) -> Layout:
    return {
        name: Item(column.place, transforms.get(column.stored, Transform.NONE), column.is_nullable)
        for name, column in row_class.columns.items()
    }
