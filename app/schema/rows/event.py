"""Declares how an event's columns and the fields of its body become GraphQL fields."""

from collections.abc import Mapping
from typing import Any

from app.errors import ErrorCode
from app.execution.columns import At, Column, EnumName, Field, Made, MappingEntry
from app.models.conversation import Problem as StoredProblem
from app.models.event import EventKind, EventSource
from app.schema.attachment import attachments
from app.schema.problem import Problem

# The generated code reads a tuple: cursor, row, name of the GraphQL type, fields of the body, id.
CURSOR, ROW, TYPE_NAME, BODY, ID = range(5)
SOURCE = EnumName("source", EventSource, EventSource.ENVIRONMENT)


def _problem(stored: Mapping[str, Any] | None) -> Problem | None:
    return Problem.of(StoredProblem(ErrorCode(stored["code"]), stored["message"])) if stored is not None else None


def _body(*names: str, **defaults: bool | tuple[()] | None) -> dict[str, Field]:
    optional = {name: Field(MappingEntry(BODY, name, (default,))) for name, default in defaults.items()}
    return {name: Field(MappingEntry(BODY, name)) for name in names} | optional


HEAD = {
    "id": Field(At(ID)),
    "created_at": Field(At(ROW, Column("created_at"))),
    "source": Field(At(ROW, SOURCE)),
    "sequence": Field(At(ROW, Column("sequence")), is_leaf=False),
}
BODIES: Mapping[EventKind, Mapping[str, Field]] = {
    EventKind.MESSAGE: {
        **_body("text", is_partial=False),
        "image_urls": Field(MappingEntry(BODY, "image_urls", ((),)), is_leaf=False),
        "attachments": Field(Made(attachments, (At(ID), MappingEntry(BODY, "attachments", ((),)))), is_leaf=False),
    },
    EventKind.TOOL_CALL: _body("tool_name", "arguments", thought=None),
    EventKind.TOOL_RESULT: _body("output", truncated=False, is_error=False),
    EventKind.STATE_CHANGE: {
        **_body("agent_state"),
        "problem": Field(Made(_problem, (MappingEntry(BODY, "problem", (None,)),)), is_leaf=False),
    },
}
