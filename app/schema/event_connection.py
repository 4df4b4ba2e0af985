"""Stand-in classes for `EventConnection`, which compiled execution reads directly from rows.

For graphql-core, all fields are attributes too: ``convert`` builds the instances when one is first read.
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

# An event that this release can't decode becomes a message that says so.
_UNREADABLE: Mapping[str, Any] = {"text": UNREADABLE}

Subject = tuple[str, Row, str, Mapping[str, Any], str]
"""An event's cursor, its row, the name of its GraphQL type, the fields of its body, and its id."""


class RowEventConnection(Deferred, EventConnection):
    """A stand-in for ``EventConnection`` with rows."""

    def __init__(self, page: EventPage, query: EventQuery) -> None:
        place = page.rows.row_class.columns["sequence"].place
        values = page.rows.values
        ends = (event_cursor(values[0][place]), event_cursor(values[-1][place])) if values else (None, None)
        self.page_info = page_info(page, query, *ends)
        self._page = page
        self._query = query

    @cached_property
    def subjects(self) -> list[Subject]:
        """The events. Their bodies are parsed on first access, which a query of ``pageInfo`` alone never does."""
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
        """Build the stand-in of a page."""
        return _class_for(page.rows.row_class)(page, query)


@cache
def _class_for(row_class: type[EventRow]) -> type[RowEventConnection]:
    """Create the stand-in class for rows of one class, whose shape has each column's index."""
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
