"""The data: conversations of one owner, some with a log, in Parley's own tables."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlmodel import SQLModel

from app.models import migration
from app.models.conversation import AgentState, ConversationStatus, ConversationTrigger, fold
from app.models.database import Database
from app.models.event import EventKind

OWNER = "bench"
LOGS = 200
LOG_LENGTH = 200
BATCH = 5000
DIRECTORY = Path(__file__).parent / ".data"
BEGINNING = datetime(2025, 1, 1, tzinfo=UTC)


def sqlite_file(conversations: int) -> Path:
    """The database file; it is built once for each number of conversations."""
    path = DIRECTORY / f"{conversations}.db"
    if not path.exists():
        DIRECTORY.mkdir(exist_ok=True)
        building = path.with_suffix(".building")
        building.unlink(missing_ok=True)
        asyncio.run(fill(f"sqlite+aiosqlite:///{building}", conversations))
        with sqlite3.connect(building) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
        building.rename(path)
    return path


def copy_of(path: Path, target: Path) -> Path:
    """A copy for a server that writes."""
    shutil.copyfile(path, target)
    return target


def ids(path: Path, *, with_events: bool, limit: int = 500) -> list[str]:
    """Some conversations' ids, far from each other."""
    connection = sqlite3.connect(path)
    statement = (
        "SELECT DISTINCT conversation_id FROM event LIMIT ?"
        if with_events
        else "SELECT id FROM conversation WHERE rowid % 199 = 0 LIMIT ?"
    )
    found = [str(UUID(row[0])) for row in connection.execute(statement, (limit,))]
    connection.close()
    return found


async def fill(url: str, conversations: int) -> None:
    """Make the tables as Parley makes them, and fill them."""
    database = Database(make_url(url))
    await migration.upgrade(database)
    async with database.writer.begin() as connection:
        await connection.run_sync(_insert, conversations)
    await database.close()


def _insert(connection: Connection, conversations: int) -> None:
    tables = SQLModel.metadata.tables
    connection.execute(tables["owner"].insert(), {"id": OWNER, "status_sequence": 0, "created_at": BEGINNING})
    batch: list[dict[str, Any]] = []
    keys: list[UUID] = []
    for row in _conversations(conversations):
        batch.append(row)
        if len(keys) < LOGS:
            keys.append(row["id"])
        if len(batch) == BATCH:
            connection.execute(tables["conversation"].insert(), batch)
            batch.clear()
    if batch:
        connection.execute(tables["conversation"].insert(), batch)
    for key in keys:
        connection.execute(tables["event"].insert(), list(_events(key)))


def _conversations(count: int) -> Iterator[dict[str, Any]]:
    dice = random.Random(7)
    for number in range(count):
        created_at = BEGINNING + timedelta(seconds=37 * number, microseconds=dice.randrange(1, 999_999))
        title = f"Fix issue #{number} in the “parser” module"
        yield {
            "id": UUID(int=dice.getrandbits(128)),
            "owner_id": OWNER,
            "title": title,
            "title_folded": fold(title),
            "title_is_auto_generated": dice.random() < 0.5,
            "status": dice.choice(list(ConversationStatus)).name,
            "agent_state": dice.choice(list(AgentState)).name,
            "trigger": dice.choice(list(ConversationTrigger)).name,
            "branch_name": None if dice.random() < 0.2 else f"feature/branch-{number % 31}",
            "llm_model": "anthropic/claude-sonnet-4",
            "created_at": created_at,
            "updated_at": created_at
            + timedelta(seconds=dice.randrange(10, 90_000), microseconds=dice.randrange(1, 999)),
        }


def _events(conversation_id: UUID) -> Iterator[dict[str, Any]]:
    bodies: list[tuple[EventKind, str, dict[str, Any]]] = [
        (EventKind.MESSAGE, "USER", {"text": "Please mend the parser. " * 4, "image_urls": []}),
        (
            EventKind.TOOL_CALL,
            "AGENT",
            {"call_id": "c1", "tool_name": "bash", "arguments": {"command": "pytest -q"}, "thought": "I look first."},
        ),
        (
            EventKind.TOOL_RESULT,
            "ENVIRONMENT",
            {"tool_call_sequence": 2, "output": "12 passed in 0.3 s\n" * 5, "truncated": False, "is_error": False},
        ),
        (EventKind.STATE_CHANGE, "AGENT", {"agent_state": "RUNNING", "problem": None}),
    ]
    for sequence in range(1, LOG_LENGTH + 1):
        kind, source, body = bodies[sequence % 4]
        yield {
            "conversation_id": conversation_id,
            "sequence": sequence,
            "run": 1,
            "kind": kind.value,
            "source": source,
            "body": body,
            "created_at": BEGINNING + timedelta(seconds=sequence, microseconds=sequence),
        }
