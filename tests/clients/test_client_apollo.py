"""Apollo Client against a running server: ``clients/apollo``."""

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
    assert await node.check_types("apollo") == ""


@pytest.mark.parametrize(
    ("file", "said", "passing"),
    [
        (
            "paging",
            [],
            (
                "the list is paged to its end, each conversation once, the newest first",
                "a conversation created between two pages is neither doubled nor does it push one out",
                "lists with different filters lie apart in the cache",
            ),
        ),
        (
            "changes",
            [],
            (
                "a rename shows at once, and then as the server has it",
                "a rename that the server refuses is taken back",
                "a rename that never reaches the server is taken back",
                "a deleted conversation leaves the list and the cache",
                "deleting what is not there is a user error, and the list stays",
            ),
        ),
        (
            "live",
            ["Hello", "Hello", "Hello", "Hello", "Before", "After"],
            (
                "over websocket, the list follows what happens elsewhere",
                "over websocket, a log is read to its end and followed without a gap",
                "over multipart, the list follows what happens elsewhere",
                "over multipart, a log is read to its end and followed without a gap",
                "after a break of the connection a log goes on without a gap or a double",
                "what was deleted during a break of the connection leaves the list after it",
                "a subscription with a bad token fails, and is not tried again",
            ),
        ),
        (
            "fragments",
            ["Hello"],
            (
                "fragments on the interface Event match every kind of event in the cache",
                "without the published types a fragment on an interface would match nothing",
                "any object is found by its id, and lies in the cache once",
            ),
        ),
        ("persisted", [], ("a document is sent once, and from then on its hash alone",)),
    ],
)
async def test_apollo_client_and_the_server_agree(
    client: Client, llm: ScriptedLLM, file: str, said: list[str], passing: tuple[str, ...]
) -> None:
    settings = await steps.save_settings(client, llm)
    outcome = await node.run_tests("apollo", file, client)

    assert outcome == node.Outcome(passing, "")
    assert [last_user_text(request.body) for request in llm.requests] == said
    # Each test deletes its conversations, and none touches what was there before.
    left = await client.execute("{ conversations { totalCount } settings { llmModel } }")
    assert left == {"conversations": {"totalCount": 0}, "settings": {"llmModel": settings["llmModel"]}}


async def test_without_a_token_the_clients_tests_fail(server: RunningServer) -> None:
    async with Client(server) as stranger:
        stranger.token = "no-token"
        outcome = await node.run_tests("apollo", "paging", stranger)

    assert outcome.passed == ()
    assert "The token is malformed." in outcome.report
