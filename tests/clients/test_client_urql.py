"""urql, graphql-ws and graphql-sse against a running server: ``clients/urql``."""

from collections.abc import Iterator

import pytest

from tests.support import node, steps
from tests.support.client import Client
from tests.support.scripted_llm import ScriptedLLM, last_user_text
from tests.support.server import RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """What is tried is on this side of the database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data")) as started:
        yield started


async def test_the_client_is_well_typed() -> None:
    assert await node.check_types("urql") == ""


@pytest.mark.parametrize(
    ("file", "said", "passing"),
    [
        (
            "lists",
            [],
            (
                "the list is paged to its end, each conversation once, the newest first",
                "an ordinary query is answered with one result, though urql would take a stream",
                "a query is sent once, and from then on its hash alone, by GET where it fits",
                "a conversation that a list has brought is not asked for again",
            ),
        ),
        (
            "changes",
            [],
            (
                "a rename shows at once, and then as the server has it",
                "a rename that the server refuses is taken back",
                "a new conversation stands at the head of its lists, without asking for them again",
                "a deleted conversation leaves the list and the cache, without asking for them again",
            ),
        ),
        (
            "live",
            ["Hello"] * 7,
            (
                "over websocket, the list follows what happens elsewhere",
                "over websocket, a log is followed from its beginning, and again from where it was left",
                "over sse, the list follows what happens elsewhere",
                "over sse, a log is followed from its beginning, and again from where it was left",
                "over fetch, the list follows what happens elsewhere",
                "over fetch, a log is followed from its beginning, and again from where it was left",
                "after a break of the connection a log goes on without a gap or a double",
            ),
        ),
        (
            "streams",
            [],
            (
                "with graphql-ws, a log comes from its beginning and ends with its conversation",
                "with graphql-ws, one that is not there is told as an error, and the connection goes on",
                "with graphql-sse, a log comes from its beginning and ends with its conversation",
                "with graphql-sse, one that is not there is told as an error, and the connection goes on",
                "with graphql-ws, a bad token is told by the code that closes the socket",
                "with graphql-sse, a bad token ends the retries",
            ),
        ),
    ],
)
async def test_urql_and_the_server_agree(
    client: Client, llm: ScriptedLLM, file: str, said: list[str], passing: tuple[str, ...]
) -> None:
    settings = await steps.save_settings(client, llm)
    outcome = await node.run_tests("urql", file, client)

    assert outcome == node.Outcome(passing, "")
    assert [last_user_text(request.body) for request in llm.requests] == said
    # Each test deletes its conversations, and none touches what was there before.
    left = await client.execute("{ conversations { totalCount } settings { llmModel } }")
    assert left == {"conversations": {"totalCount": 0}, "settings": {"llmModel": settings["llmModel"]}}


async def test_without_a_token_the_clients_tests_fail(server: RunningServer) -> None:
    async with Client(server) as stranger:
        stranger.token = "no-token"
        outcome = await node.run_tests("urql", "lists", stranger)

    assert outcome.passed == ()
    assert "The token is malformed." in outcome.report
