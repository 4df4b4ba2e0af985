"""Declares how a conversation's columns become GraphQL fields.

A column that has a field's name is the field, as it stands. Others are declared here.
"""

from functools import lru_cache

from strawberry.utils.str_converters import to_camel_case, to_snake_case

from app.execution.columns import Column, EnumName, Field, Made, Only
from app.models.conversation import AgentState, ConversationStatus, ConversationTrigger
from app.models.database.row import lenient_json
from app.models.rows.conversation import ConversationRow
from app.models.search.order import NEWEST_FIRST, ConversationOrder, ConversationOrderField
from app.schema.problem import Problem
from app.schema.usage import TokenUsage


def unread(last_sequence: int | None, read_sequence: int | None) -> int:
    """Count the events behind the mark. Columns that were not read are ``None``, and then the count is not shown."""
    return (last_sequence or 0) - (read_sequence or 0)


STATUS = EnumName("status", ConversationStatus, ConversationStatus.ERROR)
AGENT_STATE = EnumName("agent_state", AgentState, None)
TRIGGER = EnumName("trigger", ConversationTrigger, ConversationTrigger.API)
FIELDS = {
    **{name: Field(Column(name)) for name in ConversationRow.names()},
    "status": Field(STATUS),
    "agent_state": Field(Only(AGENT_STATE, "status", ConversationStatus.RUNNING.name)),
    "trigger": Field(TRIGGER),
    "status_reason": Field(
        Made(Problem.of_names, (Column("reason_code"), Column("reason_message"))),
        is_leaf=False,
    ),
    "tags": Field(Made(lenient_json, (Column("tags"),))),
    "event_count": Field(Column("last_sequence")),
    "unread": Field(Made(unread, (Column("last_sequence"), Column("read_sequence")))),
    "usage": Field(
        Made(
            TokenUsage.of_columns,
            (Column("prompt_tokens"), Column("completion_tokens"), Column("cost_usd"), Column("is_cost_known")),
        ),
        is_leaf=False,
    ),
}
ORDER_COLUMNS = {
    ConversationOrderField.CREATED_AT: "created_at",
    ConversationOrderField.UPDATED_AT: "updated_at",
    ConversationOrderField.TITLE: "title_folded",
}
# Fields that need no column but the id: those of connections, and a conversation's events.
_OTHERS = {
    "__typename",
    "edges",
    "nodes",
    "node",
    "cursor",
    "pageInfo",
    "hasNextPage",
    "hasPreviousPage",
    "startCursor",
    "endCursor",
    "totalCount",
    "events",
    "sequence",
    "source",
    "text",
    "imageUrls",
    "toolName",
    "arguments",
    "thought",
    "toolCall",
    "output",
    "truncated",
    "isError",
    "problem",
    "code",
    "message",
    "messageId",
}
_KNOWN = _OTHERS.union(to_camel_case(name) for name in FIELDS)


def columns_for(selected: frozenset[str], order: ConversationOrder = NEWEST_FIRST) -> frozenset[str] | None:
    """Return the projection: the columns needed for the selected fields and the cursors; ``None`` for all."""
    return _columns_for(selected, order)


@lru_cache(maxsize=256)
def _columns_for(selected: frozenset[str], order: ConversationOrder) -> frozenset[str] | None:
    if not selected <= _KNOWN:
        return None
    fields = [FIELDS[name] for name in map(to_snake_case, selected) if name in FIELDS]
    keys = {ORDER_COLUMNS[order.field], *(["is_pinned"] if order.pinned_first else [])}
    return frozenset(keys).union(*(field.value.columns for field in fields))
