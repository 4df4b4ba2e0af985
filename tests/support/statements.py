"""Counts the SQL statements of requests."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from app.models.database.statement import Statement
from tests.support.server import RunningServer


@contextmanager
def counted(server: RunningServer) -> Generator[list[str]]:
    """Collect the SQL statements of requests in the block, except direct writes and those of background tasks."""
    statements: list[str] = []
    before = server.requests

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith("BEGIN") and server.works_for_request_after(before):
            statements.append(statement)

    direct = server.parley.database.direct
    read = direct.read

    async def noted(statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Any]:
        note(None, None, statement.sql)
        return await read(statement, parameters)

    engine = server.parley.database.reader.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    direct.read = noted
    try:
        yield statements
    finally:
        direct.read = read
        event.remove(engine, "before_cursor_execute", note)
