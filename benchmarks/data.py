"""The benchmarks' data: conversations of one owner, some with events, in the tables of Parley's own migrations."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlmodel import SQLModel

from app.models import migration
from app.models.conversation import AgentState, ConversationStatus, ConversationTrigger, fold
from app.models.database.database import Database
from app.models.event import EventBody as Body
from app.models.event import (
    EventSource,
    MessageBody,
    StateChangeBody,
    ToolCallBody,
    ToolResultBody,
    encode_body,
    kind_of,
)
from app.models.search import title_grams
from benchmarks.operations import Subject

OWNER = "bench"
LOGS = 2000
LOG_LENGTH = 100
PAGE = 20
REPOSITORIES = 97
BATCH = 5000
DIRECTORY = Path(__file__).parent / ".data"
BEGINNING = datetime(2025, 1, 1, tzinfo=UTC)
SECONDS_APART = 37

# Most conversations of an owner were stopped long ago.
STATUSES = {
    ConversationStatus.STOPPED: 70,
    ConversationStatus.RUNNING: 20,
    ConversationStatus.ERROR: 4,
}
# Idle states only, so that Parley neither starts nor stops runs during a measurement.
STATES = (AgentState.AWAITING_USER_INPUT, AgentState.FINISHED, AgentState.PAUSED, AgentState.REJECTED)
TRIGGERS = {ConversationTrigger.GUI: 70, ConversationTrigger.API: 20, ConversationTrigger.RESOLVER: 10}
MODELS = ("anthropic/claude-sonnet-4", "openai/gpt-5", "gemini/gemini-2.5-pro", "ollama/qwen3:32b", None)
VERBS = ("Mend", "Explain", "Test", "Document", "Review", "Rewrite", "Speed up", "Remove")
RARE_TEXT = "quokkas"
RARE_TITLES = 3
THINGS = ("the parser", "the “login” page", "flaky tests", "the price of café crème", "the schema", "CI", "the cache")


def sqlite_file(conversations: int, directory: Path = DIRECTORY) -> Path:
    """Return the database file from the cache; it is built again if the tables or this module have changed."""
    state = f"{migration.script_directory().get_current_head()} {Path(__file__).read_text()}"
    path = directory / f"{conversations}-{sha256(state.encode()).hexdigest()[:12]}.db"
    if not path.exists():
        directory.mkdir(exist_ok=True)
        for stale in directory.glob(f"{conversations}-*"):
            stale.unlink()
        building = path.with_suffix(".building")
        asyncio.run(fill(f"sqlite+aiosqlite:///{building}", conversations))
        # Only the database file is copied, so the WAL must be empty.
        connection = sqlite3.connect(building)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        building.rename(path)
    return path


def copy_of(path: Path, target: Path) -> Path:
    """Copy the file for a server that writes."""
    shutil.copyfile(path, target)
    return target


def subjects(path: Path, *, have_events: bool) -> list[Subject]:
    """Return the conversations that requests ask for, in their pseudo-random order."""
    connection = sqlite3.connect(path)
    rows = connection.execute(statement(have_events=have_events)).fetchall()
    connection.close()
    return shuffled(Subject.of(UUID(key), datetime.fromisoformat(moment).replace(tzinfo=UTC)) for key, moment in rows)


def statement(*, have_events: bool) -> str:
    """Return SQL for id and time of conversations, except the oldest, after which there would be no full page."""
    condition = "WHERE last_sequence > 0" if have_events else ""
    return f"SELECT id, created_at FROM conversation {condition} ORDER BY created_at LIMIT 10000000 OFFSET {PAGE}"  # noqa: S608  Of constants.


def shuffled(ordered: Iterable[Subject]) -> list[Subject]:
    """Shuffle with a fixed seed: the order is the same for each run and server, and has no locality."""
    subjects = list(ordered)
    random.Random(11).shuffle(subjects)
    return subjects


async def fill(url: str, conversations: int) -> None:
    """Create the tables by Parley's migrations, and insert the same rows each time."""
    database = Database(make_url(url))
    await migration.upgrade(database)
    async with database.writer.begin() as connection:
        await connection.run_sync(_insert, conversations)
    await title_grams.catch_up(database, batch=20_000)
    await database.close()


def _insert(connection: Connection, conversations: int) -> None:
    tables = SQLModel.metadata.tables
    indexes = sorted(tables["conversation"].indexes, key=lambda index: str(index.name))
    # Inserting a million rows takes several times as long if the indexes exist already.
    for index in indexes:
        index.drop(connection)
    connection.execute(tables["owner"].insert(), {"id": OWNER, "status_sequence": 0, "created_at": BEGINNING})
    dice = random.Random(7)
    repositories = [UUID(int=dice.getrandbits(128)) for _ in range(REPOSITORIES)]
    connection.execute(tables["gitrepository"].insert(), [_repository(key) for key in repositories])
    rare = {conversations * (2 * place + 1) // (2 * RARE_TITLES) for place in range(RARE_TITLES)}
    rows = (_conversation(dice, number, repositories, is_rare=number in rare) for number in range(conversations))
    keys: list[UUID] = []
    while batch := list(islice(rows, BATCH)):
        connection.execute(tables["conversation"].insert(), batch)
        keys += [row["id"] for row in batch[: LOGS - len(keys)]]
    for index in indexes:
        index.create(connection)
    for key in keys:
        connection.execute(tables["event"].insert(), list(_events(dice, key)))


def _repository(key: UUID) -> dict[str, Any]:
    name = f"acme/repository-{key.hex[:6]}"
    return {
        "id": key,
        "owner_id": OWNER,
        "provider": "GITHUB",
        "host": "github.com",
        "external_id": key.hex,
        "name_with_owner": name,
        "url": f"https://github.com/{name}",
        "clone_url": f"https://github.com/{name}.git",
        "is_private": False,
        "default_branch_name": "main",
        "seen_at": BEGINNING,
    }


def _conversation(dice: random.Random, number: int, repositories: list[UUID], *, is_rare: bool) -> dict[str, Any]:
    created_at = BEGINNING + timedelta(seconds=SECONDS_APART * number, microseconds=dice.randrange(1, 999_999))
    title = f"{dice.choice(VERBS)} {dice.choice(THINGS)} of issue {dice.randrange(10_000)}"
    if is_rare:
        title += f" about {RARE_TEXT}"
    [status] = dice.choices(list(STATUSES), list(STATUSES.values()))
    has_repository = dice.random() < 0.8
    return {
        "id": UUID(int=dice.getrandbits(128)),
        "owner_id": OWNER,
        "title": title,
        "title_folded": fold(title),
        "title_is_auto_generated": dice.random() < 0.7,
        "status": status.name,
        "agent_state": dice.choice(STATES).name if status is ConversationStatus.RUNNING else None,
        "trigger": dice.choices(list(TRIGGERS), list(TRIGGERS.values()))[0].name,
        "repository_id": dice.choice(repositories) if has_repository else None,
        "branch_name": f"feature/issue-{dice.randrange(1000)}" if has_repository else None,
        "llm_model": dice.choice(MODELS),
        "prompt_tokens": dice.randrange(2_000_000),
        "completion_tokens": dice.randrange(100_000),
        "cost_usd": round(dice.random() * 10, 6),
        "last_sequence": LOG_LENGTH if number < LOGS else 0,
        "created_at": created_at,
        "updated_at": created_at + timedelta(seconds=dice.randrange(10, 90_000), microseconds=dice.randrange(1, 999)),
    }


def _events(dice: random.Random, conversation_id: UUID) -> Iterator[dict[str, Any]]:
    for sequence in range(1, LOG_LENGTH + 1):
        source, body = _body(dice, sequence)
        yield {
            "conversation_id": conversation_id,
            "sequence": sequence,
            "run": 1 + sequence // 8,
            "kind": kind_of(body).value,
            "source": source.value,
            "body": encode_body(body),
            "created_at": BEGINNING + timedelta(seconds=sequence, microseconds=dice.randrange(1, 999_999)),
        }


def _body(dice: random.Random, sequence: int) -> tuple[EventSource, Body]:
    """Return the body at a place in a cycle of eight: a question, three calls with results, a change of state."""
    match sequence % 8:
        case 1:
            images = ("https://example.com/screenshot.png",) if dice.random() < 0.2 else ()
            return EventSource.USER, MessageBody(
                "Please mend the parser, naïve as it is. " * dice.randrange(1, 6), images
            )
        case 2 | 4 | 6:
            arguments = {"command": f"pytest -q -k {dice.randrange(1000)}", "timeout": 30, "environment": {"CI": "1"}}
            thought = "I look at the tests first." if dice.random() < 0.5 else None
            return EventSource.AGENT, ToolCallBody(f"call-{sequence}", "bash", arguments, thought)
        case 3 | 5 | 7:
            output = f"{dice.randrange(1000)} passed in 0.3 s\n" * dice.randrange(1, 30)
            return EventSource.ENVIRONMENT, ToolResultBody(sequence - 1, output, is_error=dice.random() < 0.1)
        case _:
            return EventSource.AGENT, StateChangeBody(dice.choice(STATES))
