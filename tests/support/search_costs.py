"""What a search for conversations costs on SQLite, by the statement that the query makes."""

import sqlite3

from sqlalchemy.dialects import sqlite
from sqlmodel import select

from app.models.conversation import Conversation
from app.models.search.query import ConversationQuery


def compiled(owner_id: str, query: ConversationQuery) -> tuple[str, tuple[object, ...]]:
    """The SQL of a search, and its values as SQLite gets them."""
    statement = query.statement(select(Conversation), owner_id, "sqlite")
    # What is bound: the driver's form of each value.
    result = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
    processors = result._bind_processors  # pyright: ignore[reportPrivateUsage]
    values: list[object] = []
    for name in result.positiontup or []:
        value, process = result.params[name], processors.get(name)
        values.append(process(value) if callable(process) else value)
    return str(result), tuple(values)


def plan(connection: sqlite3.Connection, owner_id: str, query: ConversationQuery) -> str:
    """How SQLite goes about it."""
    statement, values = compiled(owner_id, query)
    return "; ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))


def steps(connection: sqlite3.Connection, owner_id: str, query: ConversationQuery) -> tuple[int, list[str]]:
    """How many hundreds of instructions a page takes, and the ids on it."""
    statement, values = compiled(owner_id, query)
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    connection.set_progress_handler(tick, 100)
    try:
        ids = [row[0] for row in connection.execute(statement, values)]
    finally:
        connection.set_progress_handler(None, 100)
    return ticks, ids
