"""When a model's library is loaded: once somebody is about to have that model called, and not before."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_llm import FakeLLM
from tests.support.server import running_server

MODEL = "openai/gpt-4o"
KEY = "sk-test-key-0123456789"
LIST = "{ conversations(first: 20) { edges { node { id title } } } }"
SETTINGS = "{ settings { llmModel } }"


@pytest.fixture
def llm() -> FakeLLM:
    fake = FakeLLM()
    fake.load()
    return fake


@asynccontextmanager
async def caller(data_dir: Path, llm: FakeLLM) -> AsyncGenerator[Client]:
    """Somebody who always calls by the same name, on a server of its own."""
    with running_server(data_dir, llm=llm) as server:
        async with Client(server, "ada") as client:
            yield client


async def test_nothing_is_loaded_at_the_start_nor_for_reading_conversations(tmp_path: Path, llm: FakeLLM) -> None:
    async with caller(tmp_path, llm) as client:
        await client.execute(LIST)
        await client.execute(SETTINGS)
    assert llm.warmed_up == []


async def test_saving_settings_begins_it_for_the_model_that_they_name(tmp_path: Path, llm: FakeLLM) -> None:
    async with caller(tmp_path, llm) as client:
        await client.execute(documents.UPDATE_SETTINGS, input={"llmModel": MODEL, "llmApiKey": KEY})
        assert llm.warmed_up == [MODEL]
        await client.execute(documents.UPDATE_SETTINGS, input={"maxIterations": 7})
        assert llm.warmed_up == [MODEL, MODEL]


@pytest.mark.parametrize("step", ["settings", "create", "start", "send"])
async def test_after_a_restart_the_first_step_towards_a_call_begins_it(tmp_path: Path, llm: FakeLLM, step: str) -> None:
    async with caller(tmp_path, llm) as client:
        await client.execute(documents.UPDATE_SETTINGS, input={"llmModel": MODEL, "llmApiKey": KEY})
        conversation = await steps.create(client)
        await steps.until_waiting(client, conversation["id"])
        await client.execute(documents.STOP, input={"id": conversation["id"]})
    later = FakeLLM()
    later.load()
    async with caller(tmp_path, later) as client:
        await client.execute(LIST)
        assert later.warmed_up == []
        match step:
            case "settings":
                await client.execute(SETTINGS)
            case "create":
                await steps.create(client)
            case "start":
                await client.execute(documents.START, input={"id": conversation["id"]})
            case _:
                await steps.send(client, conversation["id"], "Hello")
        assert later.warmed_up[0] == MODEL


async def test_a_run_that_goes_on_after_a_restart_begins_it_by_itself(tmp_path: Path) -> None:
    unloaded, later = FakeLLM(), FakeLLM()
    async with caller(tmp_path, unloaded) as client:
        await client.execute(documents.UPDATE_SETTINGS, input={"llmModel": MODEL, "llmApiKey": KEY})
        conversation = await steps.create(client, "Hello")
        await steps.until(client, conversation["id"], status="RUNNING", agentState="LOADING")
    later.load()
    async with caller(tmp_path, later) as client:
        await steps.until_waiting(client, conversation["id"])
    assert later.warmed_up[0] == MODEL
