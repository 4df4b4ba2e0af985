"""Measures the cost of searches for conversations on SQLite, in virtual machine instructions and by query plan."""

import sqlite3

from sqlalchemy.dialects import sqlite
from sqlmodel import select

from app.models.conversation import Conversation
from app.models.search.query import ConversationQuery


def compiled(owner_id: str, query: ConversationQuery) -> tuple[str, tuple[object, ...]]:
    """Compile a search to SQL, with the values as SQLite's driver gets them."""
    statement = query.statement(select(Conversation), owner_id, "sqlite")
    # Bind processors convert each value to the driver's form.
    result = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
    processors = result._bind_processors  # pyright: ignore[reportPrivateUsage]
    values: list[object] = []
    for name in result.positiontup or []:
        value, process = result.params[name], processors.get(name)
        values.append(process(value) if callable(process) else value)
    return str(result), tuple(values)


def plan(connection: sqlite3.Connection, owner_id: str, query: ConversationQuery) -> str:
    """Return SQLite's query plan of a search on one line."""
    statement, values = compiled(owner_id, query)
    return "; ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))


def steps(connection: sqlite3.Connection, owner_id: str, query: ConversationQuery) -> tuple[int, list[str]]:
    """Run a search, and return its cost in hundreds of SQLite's instructions, and the ids on the page."""
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
