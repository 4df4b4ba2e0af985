"""Conversations straight from their rows: what stands in for the types, and is quicker to read.

Everything is there by attribute too, made by ``convert`` when one is asked for.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from strawberry.utils.str_converters import to_camel_case, to_snake_case

from app.execution.shape import Access, Shape
from app.models.conversation import AgentState, ConversationStatus, ConversationTrigger
from app.models.database.record import Record
from app.models.search.query import NEWEST_FIRST, ConversationOrder, ConversationOrderField, ConversationQuery
from app.schema.connection import PageInfo, record_edges
from app.schema.conversation import Conversation, ConversationConnection, TokenUsage, convert, edge
from app.schema.deferred import Deferred
from app.schema.problem import Problem
from app.services.conversation import ConversationPage

_STATUS = "statuses.get({status}, 'ERROR')"
_LEAVES = {
    "id": "{id}",
    "title": "{title}",
    "title_is_auto_generated": "{title_is_auto_generated}",
    "status": _STATUS,
    "agent_state": "(agent_states.get({agent_state}) if {status} == 'RUNNING' else None)",
    "trigger": "triggers.get({trigger}, 'API')",
    "branch_name": "{branch_name}",
    "llm_model": "{llm_model}",
    "created_at": "{created_at}",
    "updated_at": "{updated_at}",
}
_COLUMN = re.compile(r"\{(\w+)\}")
_KEYS = {
    ConversationOrderField.CREATED_AT: "created_at",
    ConversationOrderField.UPDATED_AT: "updated_at",
    ConversationOrderField.TITLE: "title_folded",
}
_AROUND = {"edges", "nodes", "node", "cursor", "pageInfo", "hasNextPage", "hasPreviousPage", "startCursor", "endCursor"}
# Of a conversation its events need the id.
_EVENTS = (
    "events sequence source text imageUrls toolName arguments thought toolCall output truncated isError "
    "problem code message messageId"
)
# Everything else may need any column.
_PLAIN = frozenset({*map(to_camel_case, _LEAVES), *_AROUND, *_EVENTS.split(), "totalCount", "__typename"})
_OBJECTS = {
    "status_reason": "problem({reason_code}, {reason_message})",
    "usage": "usage({prompt_tokens}, {completion_tokens}, {cost_usd} if {is_cost_known} else None)",
}


def columns_for(selected: frozenset[str], order: ConversationOrder = NEWEST_FIRST) -> frozenset[str] | None:
    """The columns that fields of these names, and cursors, are made of; ``None`` for all."""
    return _columns_for(selected, order.field)


@lru_cache(maxsize=256)
def _columns_for(selected: frozenset[str], order_field: ConversationOrderField) -> frozenset[str] | None:
    if not selected <= _PLAIN:
        return None
    names = (to_snake_case(name) for name in selected)
    columns = (found for name in names if name in _LEAVES for found in _COLUMN.findall(_LEAVES[name]))
    return frozenset(columns) | {_KEYS[order_field]}


class RecordConversation(Deferred, Conversation):
    """A conversation that is read from its record. ``of`` gives the class for records of a kind."""

    def __init__(self, row: Record) -> None:
        self.row = row

    def _made(self) -> Conversation:
        return convert(self.row)

    @staticmethod
    def of(row: Record) -> "RecordConversation":
        """The conversation of a record."""
        return _classes(type(row))[0](row)


class RecordConnection(Deferred, ConversationConnection):
    """A page of conversations that are read from their rows, each with its cursor."""

    def __init__(self, page: ConversationPage, query: ConversationQuery) -> None:
        self.rows = record_edges(page.kind, query.order)(page.rows)
        self.wanted = query.filter
        self.page_info = PageInfo(
            has_next_page=page.has_next_page,
            has_previous_page=query.after is not None,
            start_cursor=self.rows[0][0] if self.rows else None,
            end_cursor=self.rows[-1][0] if self.rows else None,
        )
        self._kind = page.kind
        self._order = query.order

    def _made(self) -> ConversationConnection:
        edges = [edge(self._kind(row), self._order) for _, row in self.rows]
        nodes = [found.node for found in edges]
        return ConversationConnection(wanted=self.wanted, edges=edges, nodes=nodes, page_info=self.page_info)

    @staticmethod
    def of(page: ConversationPage, query: ConversationQuery) -> "RecordConnection":
        """The page as the API shows it."""
        return _classes(page.kind)[1](page, query)


@cache
def _classes(kind: type[Record]) -> tuple[type[RecordConversation], type[RecordConnection]]:
    """The classes for one kind of records, which know where each column is. There is a kind for each database."""

    class OfKind(RecordConversation):
        __graphql_shape__ = _shape(kind, "{s}.row", {})

    def made(row: Sequence[Any]) -> RecordConversation:
        return OfKind(kind(row))

    # Of a name of its own: an operation may meet records of several kinds.
    name = f"conversation_{id(kind)}"
    row = _shape(kind, "{s}", {name: made}, f"{name}({{s}})")
    at = Shape({"cursor": Access("{s}[0]", is_leaf=True), "node": Access("{s}[1]", shape=row)})

    class ConnectionOfKind(RecordConnection):
        __graphql_shape__ = Shape(
            {
                "edges": Access("{s}.rows", shape=at),
                "nodes": Access("[row for _, row in {s}.rows]", shape=row),
                "page_info": Access("{s}.page_info"),
            }
        )

    return OfKind, ConnectionOfKind


def _shape(kind: type[Record], row: str, names: Mapping[str, object], source: str = "{s}") -> Shape:
    texts = {name: text.replace("{r}", row) for name, text in kind.texts.items()}
    accesses = {name: Access(text.format(**texts), is_leaf=True) for name, text in _LEAVES.items()}
    accesses |= {name: Access(text.format(**texts)) for name, text in _objects(texts)}
    return Shape(accesses, {**_NAMES, **kind.names, **names}, source)


def _objects(texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Those whose columns are all there."""
    return [(name, text) for name, text in _OBJECTS.items() if set(_COLUMN.findall(text)) <= texts.keys()]


_NAMES: Mapping[str, object] = {
    "statuses": {member.name: member.name for member in ConversationStatus},
    "agent_states": {member.name: member.name for member in AgentState},
    "triggers": {member.name: member.name for member in ConversationTrigger},
    "problem": Problem.of_names,
    "usage": TokenUsage,
}
