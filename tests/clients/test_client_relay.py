"""Relay against a running server: ``clients/relay``."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import node, steps
from tests.support.client import Client
from tests.support.scripted_llm import ScriptedLLM, last_user_text
from tests.support.server import RunningServer, running_server

RELAY = node.CLIENTS / "relay"
COMPILER = RELAY / "node_modules" / "relay-compiler" / "cli.js"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """What is tried is on this side of the database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data")) as started:
        yield started


async def test_relay_compiler_accepts_the_schema_and_its_artifacts_are_new() -> None:
    code, output = await node.run(COMPILER, "--validate", directory=RELAY)

    assert code == 0, f"npm run generate: {output}"


async def test_relay_compiler_refuses_a_schema_without_the_edge(tmp_path: Path) -> None:
    schema = (RELAY.parent.parent / "schema.graphql").read_text()
    faulty = schema.replace("  conversationEdge: ConversationEdge\n", "  conversationEdge: Conversation\n")
    config = (RELAY / "relay.config.json").read_text()
    (tmp_path / "relay.config.json").write_text(config.replace("../../schema.graphql", "schema.graphql"))
    (tmp_path / "schema.graphql").write_text(faulty)
    shutil.copytree(RELAY / "src", tmp_path / "src")
    code, output = await node.run(COMPILER, directory=tmp_path)

    assert faulty != schema
    assert code != 0
    assert "prependEdge" in output


async def test_the_client_is_well_typed() -> None:
    assert await node.check_types("relay") == ""


async def test_relay_and_the_server_agree(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    outcome = await node.run_tests("relay", "list", client)

    assert outcome == node.Outcome(
        (
            "the list is paged to its end, each conversation once, the newest first",
            "@prependEdge puts a new conversation on top of the list",
            "@deleteEdge takes a deleted conversation from the list",
            "a rename shows at once, and is taken back where the server refuses it",
            "the list follows over graphql-transport-ws what another caller does",
            "a log is refetched by the conversation's ID, page by page",
        ),
        "",
    )
    assert [last_user_text(request.body) for request in llm.requests] == ["Hello"]
    # Each test deletes its conversations.
    assert await client.execute("{ conversations { totalCount } }") == {"conversations": {"totalCount": 0}}
