"""Titles that a model makes: what is not taken from it, and how long it is waited for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from app.models.provider_account import ProviderType
from tests import documents, steps
from tests.client import Client
from tests.fake_git import TOKEN, FakeGitProvider
from tests.scripted_llm import Reply, ScriptedLLM, echo, never, text
from tests.server import RunningServer, running_server

SAID = "Tell me about cats, dogs and all the other animals"
TRUNCATED = "Tell me about cats, dogs and a..."


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str) -> Iterator[RunningServer]:
    """A server that waits for a title for half a second."""
    providers = {ProviderType.GITHUB: FakeGitProvider()}
    with running_server(
        data_dir, database_url=database_url, git_providers=providers, title_timeout_seconds=0.5
    ) as started:
        yield started


async def titled(client: Client, llm: ScriptedLLM, reply: Reply) -> str:
    """The title of a new conversation whose model answers a request for one with ``reply``."""
    answer = echo()
    llm.default = lambda body: reply if is_title_request(body) else answer(body)
    created = await steps.create(client, SAID)
    await steps.until_waiting(client, created["id"])
    renamed = await client.execute(documents.RENAME, input={"id": created["id"]})
    assert any(is_title_request(request.body) for request in llm.requests)
    return str(renamed["renameConversation"]["conversation"]["title"])


def is_title_request(body: Mapping[str, object]) -> bool:
    """Whether the LLM is asked for a title."""
    return "You give a conversation its title." in str(body["messages"])


async def test_a_model_that_does_not_answer_is_not_waited_for_longer_than_the_limit(
    client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    assert await titled(client, llm, never()) == TRUNCATED
    await llm.requests[-1].client_left()


async def test_a_token_that_the_model_repeats_is_hidden(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    given = {"provider": "GITHUB", "token": TOKEN}
    assert (await client.execute(documents.SET_TOKEN, input=given))["setProviderToken"]["userErrors"] == []
    assert await titled(client, llm, text(f"With {TOKEN}")) == "With <secret hidden>"


@pytest.mark.parametrize(
    ("answered", "title"),
    [
        ("\u200b", TRUNCATED),
        ("\x1b\x07", TRUNCATED),
        ("Red \x1b[31malert\x07", "Red [31malert"),
        ("A family: 👩\u200d👧", "A family: 👩\u200d👧"),
    ],
)
async def test_a_title_can_be_seen_and_steers_no_terminal(
    client: Client, llm: ScriptedLLM, answered: str, title: str
) -> None:
    await steps.save_settings(client, llm)
    assert await titled(client, llm, text(answered)) == title
