"""Pages of events that are read from their rows: quicker than instances of the types they stand in for.

Everything is there by attribute too, made by ``convert`` when one is asked for.
"""

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

from app.execution.columns import attribute, item, itself, shape_of, variant
from app.execution.shape import Shape
from app.models.database.row import Row
from app.models.event import EventKind, EventQuery
from app.models.rows.event import EventRow, read_bodies
from app.schema.connection import event_cursor
from app.schema.deferred import Deferred
from app.schema.event import UNREADABLE, Event, EventConnection, connection, convert, page_info
from app.schema.node import event_id
from app.schema.rows.event import BODIES, CURSOR, HEAD, ROW, TYPE_NAME
from app.schema.rows.layout import layout_of
from app.services.event import EventPage

# What this release can't read is a message that says so.
_UNREADABLE: Mapping[str, Any] = {"text": UNREADABLE}

Subject = tuple[str, Row, str, Mapping[str, Any], str]
"""The cursor of an event, its row, the name of its type, the fields of its body, and its id."""


class RowEventConnection(Deferred, EventConnection):
    """A page of events that are read from their rows."""

    def __init__(self, page: EventPage, query: EventQuery) -> None:
        place = page.rows.row_class.columns["sequence"].place
        values = page.rows.values
        ends = (event_cursor(values[0][place]), event_cursor(values[-1][place])) if values else (None, None)
        self.page_info = page_info(page, query, *ends)
        self._page = page
        self._query = query

    @cached_property
    def subjects(self) -> list[Subject]:
        """The events. Bodies are parsed when they are asked for, which a query of ``pageInfo`` alone does not."""
        rows = self._page.rows
        sequence_place, kind_place = rows.row_class.columns["sequence"].place, rows.row_class.columns["kind"].place
        head = event_id(self._query.conversation_id, 0).removesuffix("0")
        return [
            (event_cursor(sequence := row[sequence_place]), row, row[kind_place], body, f"{head}{sequence}")
            if body is not None
            else (
                event_cursor(sequence := row[sequence_place]),
                row,
                EventKind.MESSAGE,
                _UNREADABLE,
                f"{head}{sequence}",
            )
            for row, body in zip(rows.values, read_bodies(rows), strict=True)
        ]

    def _made(self) -> EventConnection:
        return connection(self._page, self._query)

    @staticmethod
    def of(page: EventPage, query: EventQuery) -> "RowEventConnection":
        """The page as the API shows it."""
        return _class_for(page.rows.row_class)(page, query)


@cache
def _class_for(row_class: type[EventRow]) -> type[RowEventConnection]:
    """The class for pages of rows of one class, which knows where each column is."""
    layout = layout_of(row_class)

    def event(row: Row) -> Event:
        return convert(row_class(row))

    node = Shape(
        variants=[
            variant(kind.value, TYPE_NAME, shape_of({**HEAD, **fields}, layout, source=event, row_place=ROW))
            for kind, fields in BODIES.items()
        ]
    )

    class EventConnectionOfRowClass(RowEventConnection):
        __graphql_shape__ = Shape(
            {
                "edges": attribute("subjects", Shape({"cursor": item(CURSOR), "node": itself(node)})),
                "nodes": attribute("subjects", node),
                "page_info": attribute("page_info"),
            }
        )

    return EventConnectionOfRowClass
