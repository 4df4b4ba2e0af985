"""The raw limit: Starlette, hand-written SQL and orjson in one process, without anything that Parley offers.

It answers the benchmarks' four operations with the same bytes as Parley, for any caller. SQLite is read by one thread
with one connection, PostgreSQL over asyncpg's pool. Usage: ``python -m benchmarks.raw_limit DATABASE PORT``.
"""

# ruff: noqa: S608  The statements are put together from constants.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false

import asyncio
import base64
import gc
import queue
import sqlite3
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

OWNER = "bench"
FIELDS = (
    "id, title, title_is_auto_generated, status, agent_state, trigger, branch_name, llm_model, created_at, updated_at"
)
HANDED_OVER_AT_ONCE = 32

Row = Sequence[Any]
Fetch = Callable[[str, Sequence[Any]], Awaitable[list[Any]]]


class Forms(Protocol):
    """Converts a driver's values to JSON."""

    mark: Callable[[int], str]

    def id(self, value: Any) -> str: ...
    def digits(self, value: Any) -> str: ...
    def moment(self, value: Any) -> str: ...
    def key(self, text: str) -> Any: ...
    def moment_key(self, text: str) -> Any: ...
    def now(self) -> Any: ...


class SQLiteForms:
    mark = staticmethod(lambda number: "?")

    def id(self, value: str) -> str:
        return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"

    def digits(self, value: str) -> str:
        return value

    def moment(self, value: str) -> str:
        return f"{value[:10]}T{value[11:]}+00:00"

    def key(self, text: str) -> str:
        return text.replace("-", "")

    def moment_key(self, text: str) -> str:
        return f"{text[:10]} {text[11:26]}"

    def now(self) -> str:
        return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


class PostgresForms:
    mark = staticmethod(lambda number: f"${number}")

    def id(self, value: UUID) -> str:
        return str(value)

    def digits(self, value: UUID) -> str:
        return value.hex

    def moment(self, value: datetime) -> str:
        return value.isoformat()

    def key(self, text: str) -> UUID:
        return UUID(text)

    def moment_key(self, text: str) -> datetime:
        return datetime.fromisoformat(text)

    def now(self) -> datetime:
        return datetime.now(UTC)


def sqlite_fetch(path: str) -> Fetch:  # noqa: C901  It is one thread and its queue.
    """Run statements in one thread with one connection; results that are ready are passed to the loop together."""
    jobs: queue.SimpleQueue[tuple[str, Sequence[Any], asyncio.Future[list[Any]]]] = queue.SimpleQueue()
    loops: list[asyncio.AbstractEventLoop] = []

    def serve() -> None:
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -65536"):
            connection.execute(f"PRAGMA {pragma}")
        while True:
            done: list[tuple[asyncio.Future[list[Any]], list[Any]]] = []
            job = jobs.get()
            while True:
                sql, values, answer = job
                done.append((answer, connection.execute(sql, values).fetchall()))
                if len(done) >= HANDED_OVER_AT_ONCE or jobs.empty():
                    break
                job = jobs.get()
            loops[0].call_soon_threadsafe(tell, done)

    def tell(done: list[tuple[asyncio.Future[list[Any]], list[Any]]]) -> None:
        for answer, rows in done:
            if not answer.done():
                answer.set_result(rows)

    async def fetch(sql: str, values: Sequence[Any]) -> list[Any]:
        if not loops:
            loops.append(asyncio.get_running_loop())
            threading.Thread(target=serve, daemon=True).start()
        answer = loops[0].create_future()
        jobs.put((sql, values, answer))
        return await answer

    return fetch


def postgres_fetch(url: str) -> Fetch:
    """Run statements over asyncpg's pool, without the reset query when a connection is returned."""
    pools: list[Any] = []
    opening = asyncio.Lock()

    async def leave(_connection: object) -> None:
        pass

    async def fetch(sql: str, values: Sequence[Any]) -> list[Any]:
        if not pools:
            async with opening:
                if not pools:
                    pools.append(await asyncpg.create_pool(url, min_size=10, max_size=10, reset=leave))
        return await pools[0].fetch(sql, *values)

    return fetch


class RawLimit:
    """The ASGI endpoint with the four operations."""

    def __init__(self, forms: Forms, fetch: Fetch) -> None:
        self._forms = forms
        self._fetch = fetch
        mark = forms.mark
        self._page = (
            f"SELECT {FIELDS} FROM conversation WHERE owner_id = {mark(1)} "
            f"AND is_archived = false AND (created_at, id) < ({mark(2)}, {mark(3)}) "
            f"ORDER BY created_at DESC, id DESC LIMIT {mark(4)}"
        )
        self._one = f"SELECT {FIELDS} FROM conversation WHERE owner_id = {mark(1)} AND id = {mark(2)}"
        self._head = f"SELECT id, title FROM conversation WHERE owner_id = {mark(1)} AND id = {mark(2)}"
        self._events = (
            f"SELECT sequence, kind, source, body, created_at FROM event WHERE conversation_id = {mark(1)} "
            f"AND sequence < {mark(2)} ORDER BY sequence DESC LIMIT {mark(3)}"
        )
        self._rename = (
            f"UPDATE conversation SET title = {mark(1)}, title_folded = {mark(2)}, title_is_auto_generated = false, "
            f"title_revision = title_revision + 1, updated_at = {mark(3)} "
            f"WHERE owner_id = {mark(4)} AND id = {mark(5)} RETURNING id, title, updated_at"
        )

    async def __call__(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        variables = body["variables"]
        match body["operationName"]:
            case "Page":
                data = await self._search(variables["first"], variables["after"])
            case "One":
                rows = await self._fetch(self._one, (OWNER, self._forms.key(variables["id"])))
                data = {"conversation": self._node(rows[0])}
            case "Log":
                data = await self._log(variables["id"], variables["before"])
            case _:
                data = await self._retitle(variables["id"], variables["title"])
        return Response(orjson.dumps({"data": data}), media_type="application/json")

    async def _search(self, first: int, after: str) -> dict[str, Any]:
        _, moment, key = _decoded(after)
        values = (OWNER, self._forms.moment_key(moment), self._forms.key(key), first + 1)
        rows = await self._fetch(self._page, values)
        has_next = len(rows) > first
        forms = self._forms
        edges = [
            {
                "cursor": _cursor(f'["CREATED_AT","{forms.moment(row[8])}","{forms.digits(row[0])}"]'),
                "node": self._node(row),
            }
            for row in rows[:first]
        ]
        info = {
            "hasNextPage": has_next,
            "hasPreviousPage": True,
            "startCursor": edges[0]["cursor"],
            "endCursor": edges[-1]["cursor"],
        }
        return {"conversations": {"edges": edges, "pageInfo": info}}

    def _node(self, row: Row) -> dict[str, Any]:
        forms = self._forms
        return {
            "id": forms.id(row[0]),
            "title": row[1],
            "titleIsAutoGenerated": bool(row[2]),
            "status": row[3],
            "agentState": row[4] if row[3] == "RUNNING" else None,
            "trigger": row[5],
            "branchName": row[6],
            "llmModel": row[7],
            "createdAt": forms.moment(row[8]),
            "updatedAt": forms.moment(row[9]),
        }

    async def _log(self, conversation_id: str, before: str) -> dict[str, Any]:
        key = self._forms.key(conversation_id)
        [head] = await self._fetch(self._head, (OWNER, key))
        rows = await self._fetch(self._events, (key, *_decoded(before), 51))
        edges = [
            {"cursor": _cursor(f"[{row[0]}]"), "node": self._event(conversation_id, row)} for row in reversed(rows[:50])
        ]
        info = {
            "hasNextPage": True,
            "hasPreviousPage": len(rows) > 50,
            "startCursor": edges[0]["cursor"],
            "endCursor": edges[-1]["cursor"],
        }
        conversation = {"id": conversation_id, "title": head[1], "events": {"edges": edges, "pageInfo": info}}
        return {"conversation": conversation}

    def _event(self, conversation_id: str, row: Row) -> dict[str, Any]:
        body = orjson.loads(row[3])
        node = {
            "__typename": row[1],
            "id": f"{conversation_id}:{row[0]}",
            "sequence": row[0],
            "createdAt": self._forms.moment(row[4]),
            "source": row[2],
        }
        match row[1]:
            case "MessageEvent":
                node |= {"text": body["text"], "imageUrls": body["image_urls"]}
            case "ToolCallEvent":
                node |= {"toolName": body["tool_name"], "arguments": body["arguments"], "thought": body["thought"]}
            case "ToolResultEvent":
                node |= {"output": body["output"], "truncated": body["truncated"], "isError": body["is_error"]}
            case _:
                node |= {"agentState": body["agent_state"], "problem": body["problem"]}
        return node

    async def _retitle(self, conversation_id: str, title: str) -> dict[str, Any]:
        forms = self._forms
        values = (title, title.casefold(), forms.now(), OWNER, forms.key(conversation_id))
        [row] = await self._fetch(self._rename, values)
        conversation = {"id": forms.id(row[0]), "title": row[1], "updatedAt": forms.moment(row[2])}
        return {"renameConversation": {"conversation": conversation, "userErrors": []}}


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> list[Any]:
    return orjson.loads(base64.urlsafe_b64decode(cursor + "=="))


def main() -> None:
    """Serve until the process is killed."""
    database, port = sys.argv[1:]
    is_postgres = database.startswith("postgresql")
    limit = (
        RawLimit(PostgresForms(), postgres_fetch(database))
        if is_postgres
        else RawLimit(SQLiteForms(), sqlite_fetch(database))
    )
    app = Starlette(routes=[Route("/graphql", limit.__call__, methods=["POST"])])
    gc.collect()
    gc.freeze()
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_config=None, access_log=False, server_header=False)


if __name__ == "__main__":
    main()
