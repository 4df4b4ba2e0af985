"""GraphQL types of events: the `Event` interface, one implementation for each event body, connections and deltas."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry
from strawberry import Private

from app.context import Context
from app.models import event as models
from app.models.conversation import AgentState
from app.models.event import EventQuery, EventSource, decode_body
from app.models.rows.event import EventRow
from app.schema.attachment import Attachment, attachments
from app.schema.connection import DEFAULT_EVENTS, PageInfo, check_count, event_cursor, parse_event_cursor
from app.schema.node import Node, event_id
from app.schema.problem import Problem
from app.schema.rows.event import SOURCE
from app.schema.scalar import JSON, URI, invalid
from app.services.event import EventPage

Info = strawberry.Info[Context, None]

UNREADABLE = "This event can't be read by this release of the server."


@strawberry.interface(
    description="One entry of a conversation's log. New implementations may appear; select the interface fields for "
    "unknown ones."
)
class Event(Node):
    sequence: int = strawberry.field(description="Strictly increasing inside one conversation.")
    created_at: datetime = strawberry.field(description="When it happened.")
    source: EventSource = strawberry.field(description="The event's author.")


@strawberry.type(description="Somebody said something.")
class MessageEvent(Event, Node):
    text: str = strawberry.field(description="The message's text; Markdown if an agent wrote it.")
    image_urls: list[URI] = strawberry.field(description="Images that belong to it.")
    attachments: list[Attachment] = strawberry.field(description="Files that belong to it.")
    is_partial: bool = strawberry.field(
        description="True if the answer is incomplete: the agent was stopped, the stream broke off, the "
        "server ended, or a limit was reached. Where the provider told no counts of tokens, those of such an answer "
        "are estimated."
    )


@strawberry.type(description="The agent asked for a tool.")
class ToolCallEvent(Event, Node):
    tool_name: str = strawberry.field(description="The tool's name.")
    arguments: JSON = strawberry.field(description="The call's arguments, as the agent gave them.")
    thought: str | None = strawberry.field(description="The agent's text before the call.")


@strawberry.type(description="A tool answered.")
class ToolResultEvent(Event, Node):
    call: Private[tuple[UUID, int] | None]
    output: str = strawberry.field(description="The tool's output, possibly shortened.")
    truncated: bool = strawberry.field(description="True if the output was shortened.")
    is_error: bool = strawberry.field(description="True if the call failed.")

    @strawberry.field(description="The call that this answers.")
    async def tool_call(self, info: Info) -> ToolCallEvent | None:
        if self.call is None:
            return None
        row = await info.context.events.load(self.call)
        event = convert(row) if row is not None else None
        return event if isinstance(event, ToolCallEvent) else None


@strawberry.type(description="The agent's state changed.")
class StateChangeEvent(Event, Node):
    agent_state: AgentState = strawberry.field(description="The new state.")
    problem: Problem | None = strawberry.field(description="Why, where there is something to say.")


@strawberry.type(description="An event and its place in the log.")
class EventEdge:
    cursor: str = strawberry.field(description="Opaque; resume behind this event with it.")
    node: Event = strawberry.field(description="The event.")


@strawberry.type(description="A page of events, oldest first.")
class EventConnection:
    edges: list[EventEdge] = strawberry.field(description="The events with their cursors.")
    nodes: list[Event] = strawberry.field(description="Shortcut for `edges { node }`.")
    page_info: PageInfo = strawberry.field(description="The page's position in the connection.")


@strawberry.input(description="All that is given must hold.")
class EventFilter:
    source: list[EventSource] | None = strawberry.field(default=None, description="Any of these.")


@strawberry.type(description="A piece of an answer that is being written.")
class MessageDelta:
    answer_id: strawberry.ID = strawberry.field(description="The same for every piece of one answer.")
    text: str = strawberry.field(description="Text to append.")


@strawberry.type(description="A piece of what a tool writes while it runs.")
class ToolOutputDelta:
    tool_call_id: strawberry.ID = strawberry.field(description="The `ToolCallEvent` that it belongs to.")
    text: str = strawberry.field(description="Text to append.")


def convert(row: models.Event | EventRow) -> Event:
    """Build the GraphQL object of a row. A body that this release can't decode becomes a message that says so."""
    row_id = event_id(row.conversation_id, row.sequence)
    source = SOURCE.member(row.source)
    head = (row_id, row.sequence, row.created_at, source)
    match decode_body(row):
        case models.MessageBody() as body:
            return _message(*head, body)
        case models.ToolCallBody() as body:
            return ToolCallEvent(
                id=row_id,
                sequence=row.sequence,
                created_at=row.created_at,
                source=source,
                tool_name=body.tool_name,
                arguments=JSON(body.arguments),
                thought=body.thought,
            )
        case models.ToolResultBody() as body:
            return ToolResultEvent(
                id=row_id,
                sequence=row.sequence,
                created_at=row.created_at,
                source=source,
                call=(row.conversation_id, body.tool_call_sequence),
                output=body.output,
                truncated=body.truncated,
                is_error=body.is_error,
            )
        case models.StateChangeBody(agent_state, problem):
            return StateChangeEvent(
                id=row_id,
                sequence=row.sequence,
                created_at=row.created_at,
                source=source,
                agent_state=agent_state,
                problem=Problem.of(problem) if problem else None,
            )
        case None:
            return _message(*head, models.MessageBody(UNREADABLE))


def edge(row: models.Event | EventRow) -> EventEdge:
    """Build the edge of a row, with the cursor of its sequence."""
    return EventEdge(cursor=event_cursor(row.sequence), node=convert(row))


def event_query(
    conversation_id: UUID,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    event_filter: EventFilter | None,
) -> EventQuery:
    """Convert pagination arguments to a query; with neither `first` nor `last` it reads the last 50 events.

    Raises INVALID_INPUT errors for a page size out of range, a malformed cursor, or both `first` and `last`.
    """
    if first is not None and last is not None:
        raise invalid("Give `first` or `last`, not both.")
    backward = first is None
    sources = event_filter.source if event_filter is not None else None
    return EventQuery(
        conversation_id=conversation_id,
        limit=check_count("last", last, DEFAULT_EVENTS) if backward else check_count("first", first, DEFAULT_EVENTS),
        after=parse_event_cursor(after) if after is not None else None,
        before=parse_event_cursor(before) if before is not None else None,
        backward=backward,
        sources=tuple(dict.fromkeys(sources)) if sources is not None else None,
    )


def connection(page: EventPage, query: EventQuery) -> EventConnection:
    """Build the connection of a page of rows."""
    edges = [edge(row) for row in page.rows]
    cursors = (edges[0].cursor, edges[-1].cursor) if edges else (None, None)
    return EventConnection(edges=edges, nodes=[each.node for each in edges], page_info=page_info(page, query, *cursors))


def page_info(page: EventPage, query: EventQuery, start_cursor: str | None, end_cursor: str | None) -> PageInfo:
    """Tell whether there are more events on either side.

    The side from which the page was read is only known by whether the query had a cursor there.
    """
    return PageInfo(
        has_next_page=query.before is not None if query.backward else page.has_more,
        has_previous_page=page.has_more if query.backward else query.after is not None,
        start_cursor=start_cursor,
        end_cursor=end_cursor,
    )


def _message(
    row_id: strawberry.ID, sequence: int, created_at: datetime, source: EventSource, body: models.MessageBody
) -> MessageEvent:
    return MessageEvent(
        id=row_id,
        sequence=sequence,
        created_at=created_at,
        source=source,
        text=body.text,
        image_urls=[URI(url) for url in body.image_urls],
        is_partial=body.is_partial,
        attachments=attachments(row_id, [asdict(each) for each in body.attachments]),
    )


EVENT_TYPES = (MessageEvent, ToolCallEvent, ToolResultEvent, StateChangeEvent)

First = Annotated[int | None, strawberry.argument(description="The number of events from the start, 1 to 100.")]
Last = Annotated[int | None, strawberry.argument(description="The number of events from the end, 1 to 100.")]
After = Annotated[str | None, strawberry.argument(description="Only events behind this cursor.")]
Before = Annotated[str | None, strawberry.argument(description="Only events before this cursor.")]
Filter = Annotated[EventFilter | None, strawberry.argument(description="Only these events.")]
