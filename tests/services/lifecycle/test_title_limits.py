"""Titles that a model makes: what is not taken from it, and how long it is waited for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider
from tests.support.scripted_llm import Reply, ScriptedLLM, deltas, echo, never, text
from tests.support.server import RunningServer, running_server

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


@pytest.mark.parametrize(
    ("reply", "title"),
    [
        (
            text("<think>The user likes\nanimals.</think>\n\n**Title:** ", '"Cats and dogs"\nA second line'),
            "Cats and dogs",
        ),
        (deltas({"reasoning_content": "Animals."}, {"content": "# Cats and dogs"}), "Cats and dogs"),
        (deltas({"content": [{"type": "text", "text": '```json\n{"title": "Cats &amp; dogs"}\n```'}]}), "Cats & dogs"),
        (text("<b>Cats</b> \u202eand\u200b dogs\x00"), "Cats and dogs"),
        (
            text("<|channel|>analysis<|message|>Animals.<|end|><|start|>assistant<|channel|>final<|message|>Cats"),
            "Cats",
        ),
        (deltas({"reasoning_content": "Animals, and nothing else"}, finish_reason="length"), TRUNCATED),
        (text("<think>Animals, and nothing else"), TRUNCATED),
        (text(""), TRUNCATED),
        (text(" \n\u2800\u200b"), TRUNCATED),
        (text("{}"), TRUNCATED),
        (text("..."), TRUNCATED),
        (deltas({"refusal": "I can not."}, finish_reason="content_filter"), "I can not."),
    ],
)
async def test_a_title_is_what_is_left_of_an_answer_else_the_messages_beginning(
    client: Client, llm: ScriptedLLM, reply: Reply, title: str
) -> None:
    await steps.save_settings(client, llm)
    assert await titled(client, llm, reply) == title


async def test_a_reasoning_model_has_room_to_think_before_it_gives_a_title(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    assert await titled(client, llm, text("Cats")) == "Cats"
    asked = [request.body for request in llm.requests if is_title_request(request.body)]
    assert {body.get("max_tokens") or body.get("max_completion_tokens") for body in asked} == {1024}


@pytest.mark.parametrize(
    "cut_up", ["\u200b".join(TOKEN), f"{TOKEN[:9]}**{TOKEN[9:]}**", f"{TOKEN[:9]}&#8203;{TOKEN[9:]}"]
)
async def test_a_token_that_the_model_cuts_up_is_hidden(client: Client, llm: ScriptedLLM, cut_up: str) -> None:
    await steps.save_settings(client, llm)
    given = {"provider": "GITHUB", "token": TOKEN}
    assert (await client.execute(documents.SET_TOKEN, input=given))["setProviderToken"]["userErrors"] == []
    assert await titled(client, llm, text(f"With {cut_up}")) == "With <secret hidden>"


@pytest.mark.parametrize(
    "blank", ["\u200b\u200d", "\u202e \u2066", "\u2800", "\u3164", "\xad", "\ufe0f", "\U000e0041", "\x1b"]
)
async def test_a_given_title_of_which_nothing_is_seen_is_blank(client: Client, llm: ScriptedLLM, blank: str) -> None:
    await steps.save_settings(client, llm)
    llm.default = lambda body: text("Cats") if is_title_request(body) else text("Hello")
    created = await steps.create(client, SAID, title=blank)
    named = await steps.until(client, created["id"], title="Cats")
    assert named["titleIsAutoGenerated"] is True
    await client.execute(documents.RENAME, input={"id": created["id"], "title": "Mine"})
    renamed = await client.execute(documents.RENAME, input={"id": created["id"], "title": blank})
    assert renamed["renameConversation"]["userErrors"] == []
    assert renamed["renameConversation"]["conversation"]["title"] == "Cats"


async def test_a_given_title_keeps_what_is_seen_alone(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    created = await steps.create(client, title="A\u202eB\r\nC\u200b 👩\u200d👧 می\u200cخواهم")
    assert created["title"] == "AB C 👩\u200d👧 می\u200cخواهم"
