"""A replay outlives the server, on both databases."""

import asyncio
import signal
from pathlib import Path
from typing import Any, cast

from app.config import load_config
from app.models.database.database import Database, database_url
from app.models.replay import ReplayRepository
from app.schema.node import conversation_key
from tests.support import documents
from tests.support.patience import WAIT_SECONDS
from tests.support.processes import ForkedServer

JSON = dict[str, Any]
CALLS = 5000
HEAD = {"run": 1, "createdAt": "2026-01-01T00:00:00+00:00"}


def answered_late() -> JSON:
    """The trajectory of many calls, of which the last is answered first, once all have been made."""
    # Sequences with gaps, so that none is the same when it is played.
    calls: list[JSON] = [
        {
            "type": "ToolCallEvent",
            **HEAD,
            "sequence": 10 * number,
            "source": "AGENT",
            "callId": f"c{number}",
            "toolName": "look",
            "arguments": {"at": number},
        }
        for number in range(1, CALLS + 1)
    ]
    results: list[JSON] = [
        {
            "type": "ToolResultEvent",
            **HEAD,
            "sequence": 10 * (CALLS + place),
            "source": "ENVIRONMENT",
            "toolCall": 10 * number,
            "output": f"result of c{number}",
        }
        for place, number in enumerate(range(CALLS, 0, -1), 1)
    ]
    return {"version": 1, "events": [*calls, *results]}


async def until_longer(server: ForkedServer, conversation_id: str, length: int) -> None:
    """Return once the log has more events than that."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            data = await server.execute(documents.EVENTS, id=conversation_id, last=1)
            if any(found["sequence"] > length for found in data["conversation"]["events"]["nodes"]):
                return
            await asyncio.sleep(0.01)


async def played(url: str, conversation_id: str) -> int | None:
    """How many events the database says were played."""
    key = conversation_key(conversation_id)
    assert key is not None
    database = Database(database_url(load_config(env_file=None, database_url=url)))
    try:
        async with database.read() as session:
            return await ReplayRepository(session).position(key)
    finally:
        await database.close()


async def until_waiting(server: ForkedServer, conversation_id: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            found = (await server.execute(documents.GET, id=conversation_id))["conversation"]
            assert found["status"] in {"STARTING", "RUNNING"}, found["statusReason"]
            if found["agentState"] == "AWAITING_USER_INPUT":
                return
            await asyncio.sleep(0.05)


async def test_two_kills_and_a_message_in_the_middle_of_a_replay_change_no_event_of_it(
    tmp_path: Path, fresh_database_url: str
) -> None:
    server = ForkedServer(tmp_path / "data", fresh_database_url)
    try:
        await server.start()
        await server.execute(documents.UPDATE_SETTINGS, input={"llmModel": "demo/assistant"})
        given = {"title": "T", "replay": answered_late()}
        created = (await server.execute(documents.CREATE, input=given))["createConversation"]
        assert created["userErrors"] == []
        conversation_id = cast("str", created["conversation"]["id"])
        await until_longer(server, conversation_id, 200)
        # It stands between the calls, so that none behind it has the place that it had.
        asked = {"conversationId": conversation_id, "message": {"text": "In between"}}
        assert (await server.execute(documents.SEND, input=asked))["sendMessage"]["userErrors"] == []
        for length in (1000, CALLS + 1000):
            await until_longer(server, conversation_id, length)
            await server.end(signal.SIGKILL)
            position = await played(fresh_database_url, conversation_id)
            assert position is not None
            assert length - 1 <= position < 2 * CALLS
            await server.start()
        await until_waiting(server, conversation_id)
        assert await played(fresh_database_url, conversation_id) is None

        document = (await server.execute(documents.TRAJECTORY, id=conversation_id))["conversation"]["trajectory"]
        log = cast("list[JSON]", document["events"])
        assert [found["sequence"] for found in log] == list(range(1, len(log) + 1))
        assert [found["text"] for found in log if found.get("source") == "USER"] == ["In between"]
        calls = {found["sequence"]: found["callId"] for found in log if found["type"] == "ToolCallEvent"}
        assert list(calls.values()) == [f"c{number}" for number in range(1, CALLS + 1)]
        results = [found for found in log if found["type"] == "ToolResultEvent"]
        assert [found["output"] for found in results] == [f"result of c{number}" for number in range(CALLS, 0, -1)]
        assert [found["output"] for found in results] == [f"result of {calls[found['toolCall']]}" for found in results]
    finally:
        await server.close()
