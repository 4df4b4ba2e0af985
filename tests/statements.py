"""What requests cost in SQL."""

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import event

from tests.server import RunningServer


@contextmanager
def counted(server: RunningServer) -> Generator[list[str]]:
    """The statements that requests read with meanwhile; what the background reads is not theirs."""
    statements: list[str] = []
    before = server.requests

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith("BEGIN") and server.works_for_request_after(before):
            statements.append(statement)

    engine = server.house.database.reader.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
