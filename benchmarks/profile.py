"""Profiles the stages of a request, each alone, in one process and without a network.

In a server each stage costs about half as much again, since the network's code and data compete for the processor's
caches.
"""

import asyncio
import itertools
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt

from app.config import load_config
from app.context import Context
from app.endpoints.admission import Admission
from app.endpoints.graphql.json_text import JSONTexts
from app.endpoints.graphql.request import BodyLimits, read_parameters
from app.graphql.schema import build_schema
from app.main import Parley, create_app
from app.memory import spare_collector
from app.models.search.order import NEWEST_FIRST
from app.models.search.query import ConversationQuery
from app.schema.connection import parse_conversation_cursor
from app.schema.conversation_connection import RowConnection
from app.services.auth.authenticator import Caller, bearer_token
from benchmarks import data
from benchmarks.operations import OPERATIONS, Operation, Subject
from benchmarks.servers import SECRET, parley

CALLS = 2000
BEST_OF = 5
CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "100000"))


async def _time(work: Callable[[], Awaitable[Any]]) -> float:
    for _ in range(CALLS // 10):
        await work()
    best = float("inf")
    for _ in range(BEST_OF):
        started = time.perf_counter()
        for _ in range(CALLS):
            await work()
        best = min(best, (time.perf_counter() - started) / CALLS)
    return best * 1e6


async def _done() -> None:
    pass


async def main(file: Path) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="parley-profile-") as directory:
        copy = data.copy_of(file, Path(directory) / "bench.db")
        connection = sqlite3.connect(copy)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        settings = {**parley().environment, "PARLEY_DATA_DIR": directory, "PARLEY_DATABASE_URL": f"sqlite:///{copy}"}
        os.environ.update(settings)
        built = Parley(load_config())
        await _stages(built, create_app(built.config, parley=built), data.subjects(file, have_events=False))
        await built.database.close()


def _query(subject: Subject) -> ConversationQuery:
    return ConversationQuery(20, parse_conversation_cursor(subject.cursor, NEWEST_FIRST))


async def _stages(built: Parley, app: Any, subjects: Sequence[Subject]) -> None:
    claims = {"sub": data.OWNER, "exp": datetime.now(UTC) + timedelta(hours=1)}
    token = f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"
    caller = Caller(data.OWNER, None)
    services = built.services
    admission = Admission(built.config)
    limits = BodyLimits(built.config.max_body_bytes, JSONTexts(built.config))
    spare_collector()

    def scope() -> dict[str, Any]:
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"authorization", token.encode())]
        return {"type": "http", "method": "POST", "path": "/graphql", "headers": headers, "query_string": b""}

    def whole(name: str) -> Callable[[], Awaitable[Any]]:
        operation, numbers = OPERATIONS[name], itertools.count()

        async def receive() -> dict[str, Any]:
            body = operation.body(subjects, next(numbers)).encode()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(_message: Any) -> None:
            pass

        return lambda: app(scope(), receive, send)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": OPERATIONS["q2"].body(subjects, 0).encode(), "more_body": False}

    async def admit() -> None:
        admission.request(caller)

    schema = build_schema()
    one, page = OPERATIONS["q2"], OPERATIONS["q1"]
    numbers, turns = itertools.count(), itertools.cycle(subjects)

    def executed(operation: Operation) -> Awaitable[Any]:
        variables = operation.variables(subjects, next(numbers))
        return schema.execute(operation.document, variables, Context(services, caller))

    shown_query = _query(subjects[0])
    conversations = await services.conversation.search(data.OWNER, shown_query)

    async def shown() -> None:
        RowConnection.of(conversations, shown_query)

    stages: dict[str, Callable[[], Awaitable[Any]]] = {
        "nothing": _done,
        "one conversation": whole("q2"),
        "  reading the request": lambda: read_parameters(scope(), receive, limits, admission.body()),
        "  the token": lambda: built.authenticator.authenticate(bearer_token(token)),
        "  the rate limit": admit,
        "  execution": lambda: executed(one),
        "    its SQL": lambda: services.conversation.get_row(data.OWNER, UUID(next(turns).id)),
        "a page": whole("q1"),
        "  execution ": lambda: executed(page),
        "    its SQL ": lambda: services.conversation.search(data.OWNER, _query(next(turns))),
        "    its cursors": shown,
    }
    print(json.dumps({"conversations": CONVERSATIONS}))
    print(f"{'stage':<28}{'µs':>8}")
    for name, work in stages.items():
        print(f"{name:<28}{await _time(work):>8.1f}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(data.sqlite_file(CONVERSATIONS)))
