"""Pull requests of conversations: created once, with texts that are given or made, and shown as they are now."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client, RequestFailed
from tests.support.git_server import TOKEN, GitServer, git, git_server
from tests.support.pull_requests import Proposed, PullRequests
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import ScriptedLLM, error, text
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
NAME = "ada/engine"

pytestmark = needs_sandbox


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as started:
        started.add({"README.md": "An engine.\n"}, NAME)
        yield started


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, git_host: GitServer, clock: Clock) -> Iterator[RunningServer]:
    with running_server(
        data_dir,
        database_url=database_url,
        git_private_hosts=git_host.origin,
        clock=clock,
        git_max_calls_per_request=5,
        title_timeout_seconds=2.0,
    ) as started:
        yield started


@pytest.fixture
def desk(git_host: GitServer) -> PullRequests:
    """The pull requests at the host, of which there are none yet, as there is no branch but the default one."""
    bare = git_host.root / f"{NAME}.git"
    for reference in git(bare, "for-each-ref", "--format=%(refname)", "refs/heads").split():
        if reference != "refs/heads/main":
            git(bare, "update-ref", "-d", reference)
    git_host.pull_requests[NAME] = PullRequests(ProviderType.GITHUB, NAME)
    return git_host.pull_requests[NAME]


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM, git_host: GitServer) -> Client:
    """A caller with settings and a token."""
    await steps.save_settings(client, llm)
    given = {"provider": "GITHUB", "token": TOKEN, "host": git_host.host}
    await client.execute(documents.SET_TOKEN, input=given)
    return client


async def cloned(client: Client, message: str | None = None) -> tuple[str, Path]:
    """A conversation with a clone, and where that is."""
    wanted = {"byName": {"provider": "GITHUB", "nameWithOwner": NAME}}
    conversation_id = cast("str", (await steps.create(client, message, repository=wanted, title="Mend it"))["id"])
    await steps.until_waiting(client, conversation_id)
    return conversation_id, client.server.config.data_dir / "workspaces" / conversation_id


async def with_branch(client: Client, branch: str, message: str | None = None) -> str:
    """A conversation that pushed a branch."""
    conversation_id, path = await cloned(client, message)
    (path / "README.md").write_text(f"An engine with {branch}.\n")
    given = {"conversationId": conversation_id, "message": "Change it"}
    assert (await client.execute(documents.COMMIT, input=given))["commitWorkspace"]["userErrors"] == []
    await pushed(client, conversation_id, branch)
    return conversation_id


async def pushed(client: Client, conversation_id: str, branch: str) -> None:
    given = {"conversationId": conversation_id, "branchName": branch}
    assert (await client.execute(documents.PUSH, input=given))["pushBranch"]["userErrors"] == []


async def propose(client: Client, conversation_id: str, **fields: object) -> JSON:
    given = {"conversationId": conversation_id, **fields}
    return cast("JSON", (await client.execute(documents.CREATE_PULL_REQUEST, input=given))["createPullRequest"])


async def proposed(client: Client, conversation_id: str, **fields: object) -> JSON:
    """A pull request that must come about."""
    payload = await propose(client, conversation_id, **fields)
    assert payload["userErrors"] == []
    return cast("JSON", payload["pullRequest"])


async def refused(client: Client, conversation_id: str, **fields: object) -> JSON:
    payload = await propose(client, conversation_id, **fields)
    assert payload["pullRequest"] is None
    [fault] = payload["userErrors"]
    return cast("JSON", fault)


async def shown(client: Client, conversation_id: str, **page: object) -> JSON:
    data = await client.execute(documents.PULL_REQUESTS, id=conversation_id, **page)
    return cast("JSON", data["conversation"]["pullRequests"])


async def test_a_branch_is_proposed_with_what_is_given(
    ada: Client, stranger: Client, desk: PullRequests, git_host: GitServer
) -> None:
    conversation_id = await with_branch(ada, "one")
    found = await proposed(ada, conversation_id, title=" Fix  it\u202e ", body="Because.\n", isDraft=True)
    identifier = found.pop("id")
    assert found == {
        "number": 1,
        "url": f"{git_host.origin}/{NAME}/pull/1",
        "state": "OPEN",
        "title": "Fix  it",
        "headBranchName": "one",
        "baseBranchName": "main",
        "isDraft": True,
    }
    assert desk.proposed == [Proposed(1, "Fix  it", "Because.", "one", "main", is_draft=True)]
    page = await shown(ada, conversation_id)
    assert page["nodes"] == [{"id": identifier, **found}]
    assert page["totalCount"] == 1
    node = "query ($id: ID!) { node(id: $id) { id ... on PullRequest { number } } }"
    assert (await ada.execute(node, id=identifier))["node"] == {"id": identifier, "number": 1}
    assert (await stranger.execute(node, id=identifier))["node"] is None


async def test_blank_texts_are_made_from_the_first_message_and_the_diff(
    ada: Client, desk: PullRequests, llm: ScriptedLLM
) -> None:
    conversation_id = await with_branch(ada, "two", message=f"Say more, without {TOKEN}.")
    llm.reset()
    llm.default = lambda body: (
        text("**Say more**") if "its title" in str(body) else text("<think>Hm.</think>It *says* more.")
    )
    found = await proposed(ada, conversation_id, title=" ")
    assert found["title"] == "Say more"
    assert desk.proposed[0].body == "It *says* more."
    asked = [str(request.body) for request in llm.requests]
    assert len(asked) == 2
    assert all("Say more, without" in each and "+An engine with two." in each for each in asked)
    assert not any(TOKEN in each for each in asked)


async def test_a_model_that_fails_leaves_the_conversation_s_title_and_the_files(
    ada: Client, desk: PullRequests, llm: ScriptedLLM
) -> None:
    conversation_id = await with_branch(ada, "three")
    llm.default = lambda _: error(500, "No.")
    await proposed(ada, conversation_id)
    assert (desk.proposed[0].title, desk.proposed[0].body) == ("Mend it", "Changed files:\n\n- `README.md`")


async def test_asked_again_there_is_one_pull_request(ada: Client, desk: PullRequests) -> None:
    conversation_id = await with_branch(ada, "four")
    answers = await asyncio.gather(*(proposed(ada, conversation_id, title="x", body="y") for _ in range(3)))
    assert answers[0] == answers[1] == answers[2]
    assert len(desk.proposed) == 1
    assert (await shown(ada, conversation_id))["totalCount"] == 1


async def test_one_that_a_crash_left_unknown_is_found(ada: Client, desk: PullRequests) -> None:
    conversation_id = await with_branch(ada, "five")
    desk.proposed.append(Proposed(1, "Mine", "", "five", "main", is_draft=False))
    found = await proposed(ada, conversation_id, title="x", body="y")
    assert (found["number"], found["title"]) == (1, "Mine")
    assert len(desk.proposed) == 1


async def test_a_key_gives_the_first_result_whatever_became_of_it(ada: Client, desk: PullRequests) -> None:
    conversation_id = await with_branch(ada, "six")
    first = await proposed(ada, conversation_id, title="x", body="y", idempotencyKey="k")
    desk.proposed[0].state = "closed"
    again = await proposed(ada, conversation_id, title="x", body="y", idempotencyKey="k")
    assert again["id"] == first["id"]
    other = await proposed(ada, conversation_id, title="x", body="y", idempotencyKey="other")
    assert (other["number"], len(desk.proposed)) == (2, 2)


async def test_the_state_is_refreshed_when_it_is_old(
    ada: Client, desk: PullRequests, clock: Clock, git_host: GitServer
) -> None:
    conversation_id = await with_branch(ada, "seven")
    await proposed(ada, conversation_id, title="x", body="y")
    desk.proposed[0].title = "Renamed"
    [node] = (await shown(ada, conversation_id))["nodes"]
    assert node["title"] == "x"
    clock.ahead += timedelta(seconds=61)
    [node] = (await shown(ada, conversation_id))["nodes"]
    assert (node["title"], node["state"]) == ("Renamed", "OPEN")
    desk.proposed[0].state = "merged"
    clock.ahead += timedelta(seconds=61)
    git_host.api_faults[NAME] = (500, "{}")
    try:
        [node] = (await shown(ada, conversation_id))["nodes"]
        assert (node["title"], node["state"]) == ("Renamed", "OPEN")
    finally:
        del git_host.api_faults[NAME]
    [node] = (await shown(ada, conversation_id))["nodes"]
    assert node["state"] == "MERGED"
    # It was stored, and a merged one is not asked for again.
    desk.proposed[0].state = "open"
    clock.ahead += timedelta(seconds=61)
    [node] = (await shown(ada, conversation_id))["nodes"]
    assert node["state"] == "MERGED"


async def test_a_list_of_conversations_costs_a_bounded_number_of_calls(
    ada: Client, desk: PullRequests, clock: Clock
) -> None:
    conversation_id = await with_branch(ada, "m0")
    for number in range(7):
        await pushed(ada, conversation_id, f"m{number}")
        await proposed(ada, conversation_id, title="x", body="y")
    for each in desk.proposed:
        each.state = "merged"
    clock.ahead += timedelta(seconds=61)
    query = "{ conversations { nodes { pullRequests { nodes { number state } } } } }"
    [listed] = (await ada.execute(query))["conversations"]["nodes"]
    states = [node["state"] for node in listed["pullRequests"]["nodes"]]
    # The server allows five calls for a request.
    assert sorted(states) == ["MERGED"] * 5 + ["OPEN"] * 2


async def test_pull_requests_come_in_pages_newest_first(ada: Client, desk: PullRequests) -> None:
    conversation_id = await with_branch(ada, "p1")
    await proposed(ada, conversation_id, title="x", body="y")
    for branch in ("p2", "p3"):
        await pushed(ada, conversation_id, branch)
        await proposed(ada, conversation_id, title="x", body="y")
    first = await shown(ada, conversation_id, first=2)
    assert [node["headBranchName"] for node in first["nodes"]] == ["p3", "p2"]
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"]) == (3, True)
    rest = await shown(ada, conversation_id, first=2, after=first["pageInfo"]["endCursor"])
    assert [node["headBranchName"] for node in rest["nodes"]] == ["p1"]
    assert (rest["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasPreviousPage"]) == (False, True)
    for bad in ("nonsense", (await ada.execute(documents.SEARCH))["conversations"]["edges"][0]["cursor"]):
        with pytest.raises(RequestFailed):
            await shown(ada, conversation_id, after=bad)
    assert len(desk.proposed) == 3


async def test_head_and_base_may_be_named(ada: Client, desk: PullRequests, git_host: GitServer) -> None:
    conversation_id = await with_branch(ada, "h1")
    await pushed(ada, conversation_id, "h2")
    git(git_host.root / f"{NAME}.git", "branch", "--force", "release", "main")
    found = await proposed(ada, conversation_id, title="x", body="y", headBranchName="h1", baseBranchName="release")
    assert (found["headBranchName"], found["baseBranchName"]) == ("h1", "release")
    assert (await refused(ada, conversation_id, title="x", headBranchName="main"))["code"] == "NOTHING_TO_PUSH"
    fault = await refused(ada, conversation_id, title="x", body="y", headBranchName="h1", baseBranchName="h1")
    assert (fault["code"], fault["path"]) == ("INVALID_INPUT", ["baseBranchName"])
    assert (await refused(ada, conversation_id, title="x", body="y", baseBranchName="absent"))["code"] == (
        "PULL_REQUEST_REFUSED"
    )
    assert len(desk.proposed) == 1


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"title": "x" * 256}, "title"),
        ({"title": "a\x00b"}, "title"),
        ({"body": "x" * 50_001}, "body"),
        ({"body": "a\x00b"}, "body"),
        ({"baseBranchName": "a b"}, "baseBranchName"),
        ({"headBranchName": "-x"}, "headBranchName"),
        ({"idempotencyKey": ""}, "idempotencyKey"),
    ],
)
async def test_bad_input_asks_nobody(
    ada: Client, desk: PullRequests, git_host: GitServer, fields: JSON, place: str
) -> None:
    conversation_id = cast("str", (await steps.create(ada))["id"])
    fault = await refused(ada, conversation_id, **fields)
    assert (fault["code"], fault["path"]) == ("INVALID_INPUT", [place])
    assert desk.proposed == []


async def test_what_is_missing_has_a_code(ada: Client, desk: PullRequests, git_host: GitServer) -> None:
    conversation_id, _ = await cloned(ada)
    assert (await refused(ada, conversation_id, title="x"))["code"] == "NOTHING_TO_PUSH"
    plain = cast("str", (await steps.create(ada))["id"])
    assert (await refused(ada, plain, title="x"))["code"] == "NO_REPOSITORY"
    conversation_id = await with_branch(ada, "eight")
    desk.has_scope = False
    fault = await refused(ada, conversation_id, title="x", body="y")
    assert (fault["code"], fault["scopes"]) == ("GIT_SCOPE_MISSING", ["repo", "Pull requests: write"])
    git_host.api_faults[NAME] = (503, "{}")
    try:
        assert (await refused(ada, conversation_id, title="x", body="y"))["code"] == "GIT_PROVIDER_UNAVAILABLE"
    finally:
        del git_host.api_faults[NAME]
    await ada.execute(documents.REMOVE_TOKEN, input={"provider": "GITHUB"})
    fault = await refused(ada, conversation_id, title="x", body="y")
    assert (fault["__typename"], "No token is stored" in fault["message"]) == ("GitProviderAuthenticationError", True)
    assert desk.proposed == []


async def test_a_deleted_conversation_takes_its_pull_requests_along(ada: Client, desk: PullRequests) -> None:
    conversation_id = await with_branch(ada, "nine")
    found = await proposed(ada, conversation_id, title="x", body="y")
    await ada.execute(documents.DELETE, input={"id": conversation_id})
    assert (await ada.execute("query ($id: ID!) { node(id: $id) { id } }", id=found["id"]))["node"] is None
    assert desk.proposed[0].state == "open"
