"""A run outlives the process that began it."""

import asyncio
import random
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import documents
from tests.processes import ServerProcess, scripted_llm_process

CONVERSATIONS = 3
MESSAGES = 4
WAIT_SECONDS = 60.0
JSON = dict[str, Any]


@asynccontextmanager
async def house(data_dir: Path, database_url: str | None) -> AsyncGenerator[ServerProcess]:
    """A server with settings for an LLM that needs a while for each answer."""
    async with scripted_llm_process(pieces=5, pause_seconds=0.05) as llm_url:
        server = ServerProcess(data_dir, database_url)
        try:
            await server.start()
            settings = {"llmModel": "openai/scripted", "llmBaseUrl": llm_url, "llmApiKey": "sk-durable-0123456789"}
            saved = await server.execute(documents.UPDATE_SETTINGS, input=settings)
            assert saved["updateSettings"]["userErrors"] == []
            yield server
        finally:
            await server.close()


async def begin_work(server: ServerProcess, label: str) -> dict[str, list[str]]:
    """Conversations with several messages each, all but the first of them queued; their texts by conversation."""
    texts: dict[str, list[str]] = {}
    for number in range(CONVERSATIONS):
        first = f"{label} {number} 0"
        given = {"title": "T", "initialMessage": {"text": first}}
        created = (await server.execute(documents.CREATE, input=given))["createConversation"]
        assert created["userErrors"] == []
        texts[created["conversation"]["id"]] = [first]
    for number, (conversation_id, said) in enumerate(texts.items()):
        for turn in range(1, MESSAGES):
            text = f"{label} {number} {turn}"
            given = {"conversationId": conversation_id, "message": {"text": text}}
            sent = (await server.execute(documents.SEND, input=given))["sendMessage"]
            assert sent["userErrors"] == []
            said.append(text)
    return texts


async def until_all_wait(server: ServerProcess, ids: list[str]) -> None:
    """Return once every conversation waits for its user."""
    async with asyncio.timeout(WAIT_SECONDS):
        for conversation_id in ids:
            while True:
                found = (await server.execute(documents.GET, id=conversation_id))["conversation"]
                assert found["status"] in {"STARTING", "RUNNING"}, found["statusReason"]
                if found["agentState"] == "AWAITING_USER_INPUT":
                    break
                await asyncio.sleep(0.05)


async def check_log(server: ServerProcess, conversation_id: str, texts: list[str]) -> None:
    """Numbered without a gap; every message answered once, in its turn."""
    data = await server.execute(documents.EVENTS, id=conversation_id, first=100)
    events: list[JSON] = data["conversation"]["events"]["nodes"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    messages = [event for event in events if event["__typename"] == "MessageEvent"]
    assert [event["text"] for event in messages if event["source"] == "USER"] == texts
    answers = [event["text"] for event in messages if event["source"] == "AGENT"]
    assert answers == [f"answer to {text}" for text in texts]
    states = [event["agentState"] for event in events if event["__typename"] == "StateChangeEvent"]
    assert states[-1] == "AWAITING_USER_INPUT"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
async def test_five_kills_at_random_moments_lose_double_and_disorder_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with house(tmp_path, None) as server:
        texts = await begin_work(server, f"kill {seed}")
        for _ in range(5):
            await asyncio.sleep(chance.uniform(0.0, 1.2))
            assert await server.end(signal.SIGKILL) == -signal.SIGKILL
            await server.start()
        await until_all_wait(server, list(texts))
        for conversation_id, said in texts.items():
            await check_log(server, conversation_id, said)


@pytest.mark.timeout(240)
async def test_on_postgresql_the_next_process_takes_over_the_runs_of_a_killed_one(
    tmp_path: Path, postgres_url: str
) -> None:
    chance = random.Random(3)
    async with house(tmp_path, postgres_url) as server:
        texts = await begin_work(server, "postgres")
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0.0, 1.2))
            await server.end(signal.SIGKILL)
            await server.start()
        await until_all_wait(server, list(texts))
        for conversation_id, said in texts.items():
            await check_log(server, conversation_id, said)


@pytest.mark.timeout(240)
async def test_on_postgresql_a_living_instance_finishes_the_runs_of_a_killed_one(
    tmp_path: Path, postgres_url: str
) -> None:
    async with house(tmp_path, postgres_url) as server:
        other = ServerProcess(tmp_path, postgres_url)
        try:
            await other.start()
            texts = await begin_work(server, "instances")
            await asyncio.sleep(0.3)
            await server.end(signal.SIGKILL)
            await until_all_wait(other, list(texts))
            for conversation_id, said in texts.items():
                await check_log(other, conversation_id, said)
        finally:
            await other.close()


@pytest.mark.timeout(120)
async def test_a_shutdown_in_the_middle_of_a_run_is_prompt_and_the_run_goes_on_afterwards(tmp_path: Path) -> None:
    async with house(tmp_path, None) as server:
        texts = await begin_work(server, "shutdown")
        await asyncio.sleep(0.2)
        assert await server.end(signal.SIGTERM) in {0, -signal.SIGTERM}
        await server.start()
        await until_all_wait(server, list(texts))
        for conversation_id, said in texts.items():
            await check_log(server, conversation_id, said)


@pytest.mark.timeout(120)
async def test_a_second_process_on_the_same_embedded_database_refuses_to_start(tmp_path: Path) -> None:
    async with house(tmp_path, None) as _:
        second = ServerProcess(tmp_path)
        with pytest.raises(RuntimeError, match="ended before it printed"):
            await second.start()
        await second.close()
