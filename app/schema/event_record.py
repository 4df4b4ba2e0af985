"""Events straight from their rows: what stands in for the types, and is quicker to read.

Everything is there by attribute too, made by ``convert`` when one is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from app.execution.shape import Access, Shape
from app.models import event as models
from app.models.conversation import Problem as Found
from app.models.event import EventKind, EventQuery, EventSource, read_body
from app.models.record import Record
from app.schema.connection import event_cursor
from app.schema.deferred import Deferred
from app.schema.event import (
    UNREADABLE,
    Event,
    EventConnection,
    MessageEvent,
    StateChangeEvent,
    ToolCallEvent,
    ToolResultEvent,
    connection,
    convert,
    page_info,
)
from app.schema.problem import Problem
from app.services.event import EventPage

_UNREADABLE = models.MessageBody(UNREADABLE)
_HEAD = {
    "id": Access("{s}.texts[0]", is_leaf=True),
    "created_at": Access("{s}.texts[1]", is_leaf=True),
    "source": Access("{s}.texts[2]", is_leaf=True),
    "sequence": Access("{s}.texts[3]"),
}


def _problem(found: Found | None) -> Problem | None:
    return Problem.of(found) if found else None


class RecordEvent(Deferred):
    """What all events have that are read from a record. ``texts``: id, creation, source and sequence, as the API's."""

    def __init__(self, row: Record, body: models.EventBody, texts: tuple[str, str, str, int]) -> None:
        self.row = row
        self.body = body
        self.texts = texts

    def _made(self) -> Event:
        return convert(self.row)

    @staticmethod
    def of(row: Record) -> "RecordEvent":
        """The event of a record."""
        # What this release can't read is a message that says so.
        body = read_body(row) or _UNREADABLE
        return _CLASSES[models.kind_of(body)](row, body, _texts(type(row))(row))


class RecordMessage(RecordEvent, MessageEvent):
    """A message."""

    __graphql_shape__ = Shape(
        {**_HEAD, "text": Access("{s}.body.text", is_leaf=True), "image_urls": Access("{s}.body.image_urls")}
    )


class RecordToolCall(RecordEvent, ToolCallEvent):
    """A tool call."""

    __graphql_shape__ = Shape(
        {
            **_HEAD,
            "tool_name": Access("{s}.body.tool_name", is_leaf=True),
            "arguments": Access("{s}.body.arguments"),
            "thought": Access("{s}.body.thought", is_leaf=True),
        }
    )


class RecordToolResult(RecordEvent, ToolResultEvent):
    """A tool's result."""

    __graphql_shape__ = Shape(
        {
            **_HEAD,
            "output": Access("{s}.body.output", is_leaf=True),
            "truncated": Access("{s}.body.truncated", is_leaf=True),
            "is_error": Access("{s}.body.is_error", is_leaf=True),
        }
    )


class RecordStateChange(RecordEvent, StateChangeEvent):
    """A change of state."""

    __graphql_shape__ = Shape(
        {
            **_HEAD,
            "agent_state": Access("{s}.body.agent_state"),
            "problem": Access("event_problem({s}.body.problem)"),
        },
        {"event_problem": _problem},
    )


class RecordEventConnection(Deferred, EventConnection):
    """A page of events that are read from their records, each with its cursor."""

    __graphql_shape__ = Shape(
        {
            "edges": Access(
                "{s}.rows", shape=Shape({"cursor": Access("{s}[0]", is_leaf=True), "node": Access("{s}[1]")})
            ),
            "nodes": Access("{s}.events"),
            "page_info": Access("{s}.page_info"),
        }
    )

    def __init__(self, page: EventPage, query: EventQuery, records: Sequence[Record]) -> None:
        self.events = [RecordEvent.of(record) for record in records]
        self.rows = [(event_cursor(event.texts[3]), event) for event in self.events]
        cursors = (self.rows[0][0], self.rows[-1][0]) if self.rows else (None, None)
        self.page_info = page_info(page, query, *cursors)
        self._page = page
        self._query = query

    def _made(self) -> EventConnection:
        return connection(self._page, self._query)

    @staticmethod
    def of(page: EventPage, query: EventQuery) -> EventConnection:
        """The page as the API shows it."""
        records = [row for row in page.events if isinstance(row, Record)]
        if len(records) < len(page.events):
            return connection(page, query)
        return RecordEventConnection(page, query, records)


_CLASSES: Mapping[EventKind, type[RecordEvent]] = {
    EventKind.MESSAGE: RecordMessage,
    EventKind.TOOL_CALL: RecordToolCall,
    EventKind.TOOL_RESULT: RecordToolResult,
    EventKind.STATE_CHANGE: RecordStateChange,
}


@cache
def _texts(kind: type[Record]) -> Callable[[Record], tuple[str, str, str, int]]:
    """What makes the texts of a record. There is a kind for each database."""
    texts = {name: text.replace("{r}", "r") for name, text in kind.texts.items()}
    event_id = f"{texts['conversation_id']} + ':' + str({texts['sequence']})"
    source = f"sources.get({texts['source']}, 'ENVIRONMENT')"
    sources = {name: name for name in EventSource.__members__}
    expression = f"({event_id}, {texts['created_at']}, {source}, {texts['sequence']})"
    return kind.function(expression, {"sources": sources})
