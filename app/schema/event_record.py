"""Events straight from their rows: what stands in for the types, and is quicker to read.

Everything is there by attribute too, made by ``convert`` when one is asked for.
"""

from collections.abc import Sequence
from functools import cache
from typing import cast

from app.execution.shape import Access, Shape, Variant
from app.models import event as models
from app.models.conversation import Problem as Found
from app.models.event import EventBody, EventKind, EventQuery, EventSource, read_bodies
from app.models.record import Record, Row
from app.schema.connection import event_cursor
from app.schema.deferred import Deferred
from app.schema.event import UNREADABLE, Event, EventConnection, connection, convert, page_info
from app.schema.node import event_id
from app.schema.problem import Problem
from app.services.event import EventPage

# What this release can't read is a message that says so.
_UNREADABLE = models.MessageBody(UNREADABLE)


def _problem(found: Found | None) -> Problem | None:
    return Problem.of(found) if found else None


# In the expressions ``{s}`` is an event: its cursor, its row, its body and its id.
_BODIES: dict[EventKind, tuple[type[EventBody], dict[str, Access]]] = {
    EventKind.MESSAGE: (
        models.MessageBody,
        {"text": Access("{s}[2].text", is_leaf=True), "image_urls": Access("{s}[2].image_urls")},
    ),
    EventKind.TOOL_CALL: (
        models.ToolCallBody,
        {
            "tool_name": Access("{s}[2].tool_name", is_leaf=True),
            "arguments": Access("{s}[2].arguments", is_leaf=True),
            "thought": Access("{s}[2].thought", is_leaf=True),
        },
    ),
    EventKind.TOOL_RESULT: (
        models.ToolResultBody,
        {
            "output": Access("{s}[2].output", is_leaf=True),
            "truncated": Access("{s}[2].truncated", is_leaf=True),
            "is_error": Access("{s}[2].is_error", is_leaf=True),
        },
    ),
    EventKind.STATE_CHANGE: (
        models.StateChangeBody,
        {
            "agent_state": Access("{s}[2].agent_state"),
            "problem": Access("event_problem({s}[2].problem)"),
        },
    ),
}


class RecordEventConnection(Deferred, EventConnection):
    """A page of events that are read from their rows."""

    def __init__(self, page: EventPage, query: EventQuery, kind: type[Record]) -> None:
        rows = cast("Sequence[Row]", page.rows)
        head = event_id(query.conversation_id, 0).removesuffix("0")
        at = kind.columns["sequence"]
        self.rows = [
            (event_cursor(sequence := row[at]), row, body or _UNREADABLE, f"{head}{sequence}")
            for row, body in zip(rows, read_bodies(kind, rows), strict=True)
        ]
        cursors = (self.rows[0][0], self.rows[-1][0]) if self.rows else (None, None)
        self.page_info = page_info(page, query, *cursors)
        self._page = page
        self._query = query

    def _made(self) -> EventConnection:
        return connection(self._page, self._query)

    @staticmethod
    def of(page: EventPage, query: EventQuery) -> EventConnection:
        """The page as the API shows it."""
        return connection(page, query) if page.kind is None else _class(page.kind)(page, query, page.kind)


@cache
def _class(kind: type[Record]) -> type[RecordEventConnection]:
    """The class for pages of one kind of records. There is a kind for each database."""
    event = _event(kind)

    class OfKind(RecordEventConnection):
        __graphql_shape__ = Shape(
            {
                "edges": Access(
                    "{s}.rows",
                    shape=Shape({"cursor": Access("{s}[0]", is_leaf=True), "node": Access("{s}", shape=event)}),
                ),
                "nodes": Access("{s}.rows", shape=event),
                "page_info": Access("{s}.page_info"),
            }
        )

    return OfKind


def _event(kind: type[Record]) -> Shape:
    # Of a name of its own: an operation may meet records of several kinds.
    made = f"event_{id(kind)}"

    def event(row: Row) -> Event:
        return convert(kind(row))

    texts = {name: text.replace("{r}", "{s}[1]") for name, text in kind.texts.items()}
    head = {
        "id": Access("{s}[3]", is_leaf=True),
        "created_at": Access(texts["created_at"], is_leaf=True),
        "source": Access(f"event_sources.get({texts['source']}, 'ENVIRONMENT')", is_leaf=True),
        "sequence": Access(texts["sequence"]),
    }
    names = {
        **kind.names,
        "event_sources": _SOURCES,
        "event_problem": _problem,
        made: event,
        **{body.__name__: body for body, _ in _BODIES.values()},
    }
    return Shape(
        variants=[
            Variant(
                name.value,
                f"type({{s}}[2]) is {body.__name__}",
                Shape({**head, **accesses}, names, f"{made}({{s}}[1])"),
            )
            for name, (body, accesses) in _BODIES.items()
        ]
    )


_SOURCES = {name: name for name in EventSource.__members__}
