"""Events straight from their rows: what stands in for the types, and is quicker to read.

Everything is there by attribute too, made by ``convert`` when one is asked for.
"""

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, cast

from app.errors import ErrorCode
from app.execution.shape import Access, Shape, Variant
from app.models.conversation import Problem as Found
from app.models.database.record import Record
from app.models.database.row import Row
from app.models.event import EventKind, EventQuery, EventSource, read_bodies
from app.schema.connection import event_cursor
from app.schema.deferred import Deferred
from app.schema.event import UNREADABLE, Event, EventConnection, connection, convert, page_info
from app.schema.node import event_id
from app.schema.problem import Problem
from app.services.event import EventPage

# What this release can't read is a message that says so.
_UNREADABLE: Mapping[str, Any] = {"text": UNREADABLE, "image_urls": []}


def _problem(found: Mapping[str, Any] | None) -> Problem | None:
    return Problem.of(Found(ErrorCode(found["code"]), found["message"])) if found is not None else None


# In the expressions ``{s}`` is an event, as ``RecordEventConnection.sources`` has it.
_BODIES = {
    EventKind.TOOL_CALL: {
        "tool_name": Access("{s}[3]['tool_name']", is_leaf=True),
        "arguments": Access("{s}[3]['arguments']", is_leaf=True),
        "thought": Access("{s}[3]['thought']", is_leaf=True),
    },
    EventKind.TOOL_RESULT: {
        "output": Access("{s}[3]['output']", is_leaf=True),
        "truncated": Access("{s}[3]['truncated']", is_leaf=True),
        "is_error": Access("{s}[3]['is_error']", is_leaf=True),
    },
    EventKind.MESSAGE: {
        "text": Access("{s}[3]['text']", is_leaf=True),
        "image_urls": Access("{s}[3]['image_urls']"),
        # Absent in rows of earlier releases.
        "is_partial": Access("{s}[3].get('is_partial', False)", is_leaf=True),
    },
    EventKind.STATE_CHANGE: {
        "agent_state": Access("{s}[3]['agent_state']", is_leaf=True),
        "problem": Access("event_problem({s}[3]['problem'])"),
    },
}


class RecordEventConnection(Deferred, EventConnection):
    """A page of events that are read from their rows."""

    def __init__(self, page: EventPage, query: EventQuery, kind: type[Record]) -> None:
        rows = cast("Sequence[Row]", page.rows)
        at = kind.columns["sequence"]
        ends = (event_cursor(rows[0][at]), event_cursor(rows[-1][at])) if rows else (None, None)
        self.page_info = page_info(page, query, *ends)
        self._page = page
        self._query = query
        self._rows = rows
        self._kind = kind

    @cached_property
    def sources(self) -> list[tuple[str, Row, str, Mapping[str, Any], str]]:
        """The cursor of each event, its row, the name of its type, the fields of its body, and its id.

        Bodies are parsed when events are asked for, which a query of ``pageInfo`` alone does not.
        """
        at, kind_at = self._kind.columns["sequence"], self._kind.columns["kind"]
        head = event_id(self._query.conversation_id, 0).removesuffix("0")
        return [
            (event_cursor(sequence := row[at]), row, row[kind_at], body, f"{head}{sequence}")
            if body is not None
            else (event_cursor(sequence := row[at]), row, EventKind.MESSAGE.value, _UNREADABLE, f"{head}{sequence}")
            for row, body in zip(self._rows, read_bodies(self._kind, self._rows), strict=True)
        ]

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
                    "{s}.sources",
                    shape=Shape({"cursor": Access("{s}[0]", is_leaf=True), "node": Access("{s}", shape=event)}),
                ),
                "nodes": Access("{s}.sources", shape=event),
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
        "id": Access("{s}[4]", is_leaf=True),
        "created_at": Access(texts["created_at"], is_leaf=True),
        "source": Access(f"event_sources.get({texts['source']}, 'ENVIRONMENT')", is_leaf=True),
        "sequence": Access(texts["sequence"]),
    }
    names = {
        **kind.names,
        "event_sources": _SOURCES,
        "event_problem": _problem,
        made: event,
    }
    return Shape(
        variants=[
            Variant(
                name.value,
                f"{{s}}[2] == {name.value!r}",
                Shape({**head, **accesses}, names, f"{made}({{s}}[1])"),
            )
            for name, accesses in _BODIES.items()
        ]
    )


_SOURCES = {name: name for name in EventSource.__members__}
