"""A run outlives the process that began it."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import documents
from tests.support.patience import WAIT_SECONDS
from tests.support.processes import ForkedServer
from tests.support.scripted_llm import ScriptedLLM, echo

CONVERSATIONS = 3
MESSAGES = 3
GRACEFUL_SECONDS = 30.0
JSON = dict[str, Any]


@pytest.fixture
def slow_llm() -> Iterator[ScriptedLLM]:
    """An LLM that needs a while for each answer, and outlives the server."""
    with ScriptedLLM(echo(pieces=5, pause_seconds=0.05)) as llm:
        yield llm


@asynccontextmanager
async def server_process(data_dir: Path, database_url: str | None, llm: ScriptedLLM) -> AsyncGenerator[ForkedServer]:
    """A server with settings."""
    server = ForkedServer(data_dir, database_url)
    try:
        await server.start()
        settings = {"llmModel": "openai/scripted", "llmBaseUrl": llm.url, "llmApiKey": "sk-durable-0123456789"}
        saved = await server.execute(documents.UPDATE_SETTINGS, input=settings)
        assert saved["updateSettings"]["userErrors"] == []
        yield server
    finally:
        await server.close()


async def begin_work(server: ForkedServer, label: str) -> dict[str, list[str]]:
    """Conversations with several messages each, all but the first of them queued; their texts by conversation."""
    texts: dict[str, list[str]] = {}
    for number in range(CONVERSATIONS):
        first = f"{label} {number} 0"
        given = {"title": "T", "initialMessage": {"text": first}}
        created = (await server.execute(documents.CREATE, input=given))["createConversation"]
        assert created["userErrors"] == []
        texts[created["conversation"]["id"]] = [first]
    for _ in range(1, MESSAGES):
        await add_work(server, texts)
    return texts


async def add_work(server: ForkedServer, texts: dict[str, list[str]]) -> None:
    """One more message to each conversation."""
    for conversation_id, said in texts.items():
        text = f"{said[0]} and {len(said)}"
        given = {"conversationId": conversation_id, "message": {"text": text}}
        sent = (await server.execute(documents.SEND, input=given))["sendMessage"]
        assert sent["userErrors"] == []
        said.append(text)


async def random_moment(chance: random.Random, llm: ScriptedLLM, asked: int) -> None:
    """Return soon after the start, while runs are taken up; or soon after the LLM was asked, while it answers."""
    if chance.random() < 0.5:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(llm.requests) == asked:  # noqa: ASYNC110  Requests come in another thread.
                await asyncio.sleep(0.005)
    await asyncio.sleep(chance.uniform(0.0, 0.6))


async def until_all_wait(server: ForkedServer, ids: list[str]) -> None:
    """Return once every conversation waits for its user."""
    async with asyncio.timeout(WAIT_SECONDS):
        for conversation_id in ids:
            while True:
                found = (await server.execute(documents.GET, id=conversation_id))["conversation"]
                assert found["status"] in {"STARTING", "RUNNING"}, found["statusReason"]
                if found["agentState"] == "AWAITING_USER_INPUT":
                    break
                await asyncio.sleep(0.05)


async def check_log(server: ForkedServer, conversation_id: str, texts: list[str]) -> None:
    """Numbered without a gap; every message answered once, in its turn. What broke off of an answer is marked."""
    data = await server.execute(documents.EVENTS, id=conversation_id, first=100)
    events: list[JSON] = data["conversation"]["events"]["nodes"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    messages = [event for event in events if event["__typename"] == "MessageEvent"]
    assert [event["text"] for event in messages if event["source"] == "USER"] == texts
    answers = [event["text"] for event in messages if event["source"] == "AGENT" and not event["isPartial"]]
    assert answers == [f"answer to {text}" for text in texts]
    states = [event["agentState"] for event in events if event["__typename"] == "StateChangeEvent"]
    assert states[-1] == "AWAITING_USER_INPUT"


async def check_all(server: ForkedServer, texts: dict[str, list[str]]) -> None:
    """Every conversation comes to its end, and its log is as if nothing had happened."""
    await until_all_wait(server, list(texts))
    for conversation_id, said in texts.items():
        await check_log(server, conversation_id, said)


async def survive_kills(server: ForkedServer, llm: ScriptedLLM, seed: int, kills: int) -> None:
    """Give work, kill the server again and again, and look at what came of it."""
    chance = random.Random(seed)
    texts = await begin_work(server, f"seed {seed}")
    for _ in range(kills):
        asked = len(llm.requests)
        await add_work(server, texts)
        await random_moment(chance, llm, asked)
        assert await server.end(signal.SIGKILL) == -signal.SIGKILL
        await server.start()
    await check_all(server, texts)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
async def test_five_kills_at_random_moments_lose_double_and_disorder_nothing(
    tmp_path: Path, slow_llm: ScriptedLLM, seed: int
) -> None:
    async with server_process(tmp_path, None, slow_llm) as server:
        await survive_kills(server, slow_llm, seed, 5)


@pytest.mark.timeout(240)
async def test_on_postgresql_the_next_process_takes_over_the_runs_of_a_killed_one(
    tmp_path: Path, postgres_url: str, slow_llm: ScriptedLLM
) -> None:
    async with server_process(tmp_path, postgres_url, slow_llm) as server:
        await survive_kills(server, slow_llm, 3, 3)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_shutdown_in_the_middle_of_a_run_is_prompt_and_quiet_and_the_run_goes_on_afterwards(
    tmp_path: Path, slow_llm: ScriptedLLM, database: str, request: pytest.FixtureRequest
) -> None:
    url = None if database == "sqlite" else str(request.getfixturevalue("postgres_url"))
    async with server_process(tmp_path, url, slow_llm) as server:
        texts = await begin_work(server, "shutdown")
        async with asyncio.timeout(WAIT_SECONDS):
            while not slow_llm.requests:  # noqa: ASYNC110  Requests come in another thread.
                await asyncio.sleep(0.005)
        begun = time.monotonic()
        assert await server.end(signal.SIGTERM) == 0
        # It is told to take five seconds at the most; the rest is for a machine that is busy.
        assert time.monotonic() - begun < GRACEFUL_SECONDS
        levels = ("[warning", "[error", "[critical", "Traceback")
        assert [line for line in server.log().splitlines() if any(level in line for level in levels)] == []
        await server.start()
        await check_all(server, texts)
