"""Where a provider's word and git disagree: git's is right, and a conversation starts or says exactly why not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.git_server import TOKEN, GitServer, git, git_server
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
FILES = {"README.md": "An engine.\n"}
ODD = "ünï/код-#%&+;'\"$(x)<y>|`z`!,="
LONG = "x" * 250
SHOWN = """query ($id: ID!) {
  conversation(id: $id) { branchName repository { id nameWithOwner } statusReason { code message } }
}"""
FIND = "query ($name: String!) { repository(provider: GITHUB, nameWithOwner: $name) { id } }"
READY = "The workspace is ready."


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "elsewhere") as started:
        yield started


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """The host that the server of this module may ask: its repositories are swapped for each test."""
    with git_server(tmp_path_factory.mktemp("hosted")) as started:
        yield started


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, origins: GitServer) -> Iterator[RunningServer]:
    with running_server(data_dir, database_url=database_url, git_private_hosts=origins.origin) as started:
        yield started


@pytest.fixture
def served(origins: GitServer, tmp_path: Path) -> GitServer:
    """The host without repositories and with nothing to disagree about."""
    origins.root = tmp_path / "served"
    origins.root.mkdir()
    origins.is_public = False
    for told in (origins.described, origins.listed, origins.moved, origins.faults, origins.api_faults):
        told.clear()
    origins.requests.clear()
    return origins


@pytest.fixture
async def ada(client: Client, served: GitServer) -> Client:
    """A caller with settings and a token for the host."""
    await steps.save_settings(client)
    given = {"provider": "GITHUB", "token": TOKEN, "host": served.host}
    answer = await client.execute(documents.SET_TOKEN, input=given)
    assert answer["setProviderToken"]["userErrors"] == []
    return client


def named(name: str = "ada/engine") -> JSON:
    return {"byName": {"provider": "GITHUB", "nameWithOwner": name}}


async def started(ada: Client, repository: JSON | None = None, branch: str | None = None) -> tuple[JSON, list[str]]:
    """A conversation that waits for its user, and what the environment told after the clone began."""
    conversation = await steps.create(ada, repository=repository or named(), branchName=branch)
    await steps.until_waiting(ada, conversation["id"])
    return await shown(ada, conversation["id"]), (await told(ada, conversation["id"]))[2:]


async def failed(ada: Client, repository: JSON | None = None, branch: str | None = None) -> JSON:
    """Why a conversation could not start."""
    conversation = await steps.create(ada, repository=repository or named(), branchName=branch)
    await steps.until(ada, conversation["id"], status="ERROR")
    return cast("JSON", (await shown(ada, conversation["id"]))["statusReason"])


async def refused(ada: Client, **given: object) -> JSON:
    """The one user error; nothing was created."""
    answer = (await ada.execute(documents.CREATE, input={"repository": named(), **given}))["createConversation"]
    [error] = answer["userErrors"]
    assert answer["conversation"] is None
    assert await ada.execute("{ conversations { totalCount } }") == {"conversations": {"totalCount": 0}}
    return cast("JSON", error)


async def shown(ada: Client, conversation_id: str) -> JSON:
    found = (await ada.execute(SHOWN, id=conversation_id))["conversation"]
    return cast("JSON", {**found, "id": conversation_id})


async def told(ada: Client, conversation_id: str) -> list[str]:
    return [text for source, text in await steps.said(ada, conversation_id) if source == "ENVIRONMENT"]


def workspace(server: RunningServer, conversation: JSON) -> Path:
    return server.config.data_dir / "workspaces" / str(conversation["id"])


def head_of(server: RunningServer, conversation: JSON) -> str:
    """What git's own file says: the clone is its sandbox's, and git reads no stranger's."""
    return (workspace(server, conversation) / ".git" / "HEAD").read_text()


def reason(message: str) -> JSON:
    return {"code": "WORKSPACE_ERROR", "message": message}


def entries(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


@pytest.mark.parametrize(
    ("word", "head", "branches", "note"),
    [
        ("main", "main", ("main",), []),
        ("master", "main", ("main",), ["Git's default branch is main, which was cloned; the provider says master."]),
        (
            "master",
            "main",
            ("main", "master"),
            ["Git's default branch is main, which was cloned; the provider says master."],
        ),
        (None, "trunk", ("trunk",), ["Git's default branch is trunk, which was cloned; the provider names none."]),
        ("", "trunk", ("trunk",), ["Git's default branch is trunk, which was cloned; the provider names none."]),
        (
            "--upload-pack=x",
            "main",
            ("main",),
            ["Git's default branch is main, which was cloned; the provider names none."],
        ),
        ("y" * 300, "main", ("main",), ["Git's default branch is main, which was cloned; the provider names none."]),
        (ODD, ODD, ("main", ODD), []),
        ("main", ODD, ("main", ODD), [f"Git's default branch is {ODD}, which was cloned; the provider says main."]),
        (LONG, LONG, (LONG,), []),
        (LONG, "main", ("main",), [f"Git's default branch is main, which was cloned; the provider says {LONG}."]),
    ],
)
async def test_the_default_branch_is_what_gits_head_names(
    ada: Client,
    server: RunningServer,
    served: GitServer,
    word: str | None,
    head: str,
    branches: tuple[str, ...],
    note: list[str],
) -> None:
    bare = served.add(FILES, branches=branches)
    git(bare, "symbolic-ref", "HEAD", f"refs/heads/{head}")
    served.described["ada/engine"] = {"default_branch": word}
    found, said = await started(ada)
    assert (found["branchName"], said) == (head, [*note, READY])
    assert head_of(server, found) == f"ref: refs/heads/{head}\n"
    assert (workspace(server, found) / "README.md").read_text() == "An engine.\n"


@pytest.mark.parametrize("word", ["main", "trunk", None])
@pytest.mark.parametrize("has_tag", [False, True])
async def test_a_repository_without_branches_starts_empty(
    ada: Client, server: RunningServer, served: GitServer, word: str | None, has_tag: bool
) -> None:
    bare = served.add(FILES if has_tag else {})
    if has_tag:
        git(bare, "tag", "v1", "main")
        git(bare, "update-ref", "-d", "refs/heads/main")
    served.described["ada/engine"] = {"default_branch": word, "size": 4096}
    found, said = await started(ada)
    note = "The repository has no commits yet: the workspace is an empty clone."
    assert (found["branchName"], said) == (None, [note, READY])
    assert entries(workspace(server, found)) == [".git"]


@pytest.mark.parametrize("branch", ["gone", "main", "v1"])
async def test_a_branch_that_is_listed_and_gone_is_named(ada: Client, served: GitServer, branch: str) -> None:
    bare = served.add(FILES, branches=("trunk",))
    git(bare, "symbolic-ref", "HEAD", "refs/heads/trunk")
    # Git would take the tag's name for the branch's.
    git(bare, "tag", "v1", "trunk")
    served.listed["ada/engine"] = ("trunk", branch)
    assert await failed(ada, branch=branch) == reason(f"The repository has no branch named {branch}.")


async def test_a_branch_in_a_repository_without_commits_is_named(ada: Client, served: GitServer) -> None:
    served.add({})
    served.listed["ada/engine"] = ("main",)
    assert await failed(ada, branch="main") == reason("The repository has no branch named main.")


@pytest.mark.parametrize("branch", ["next", ODD, LONG])
async def test_a_branch_that_the_provider_does_not_know_is_cloned_where_git_has_it(
    ada: Client, server: RunningServer, served: GitServer, branch: str
) -> None:
    served.add(FILES, branches=("main", branch))
    served.listed["ada/engine"] = ("main",)
    found, said = await started(ada, branch=branch)
    assert (found["branchName"], said) == (branch, [READY])
    assert head_of(server, found) == f"ref: refs/heads/{branch}\n"


@pytest.mark.parametrize("branch", ["absent", "v1", "ain"])
async def test_a_branch_that_neither_knows_is_refused(ada: Client, served: GitServer, branch: str) -> None:
    git(served.add(FILES), "tag", "v1", "main")
    error = await refused(ada, branchName=branch)
    assert (error["code"], error["path"]) == ("INVALID_INPUT", ["branchName"])
    assert error["message"] == f"ada/engine has no branch named {branch}."


async def test_a_branch_is_refused_where_git_cannot_be_asked(ada: Client, served: GitServer) -> None:
    served.add(FILES, branches=("main", "next"))
    served.listed["ada/engine"] = ("main",)
    served.faults["ada/engine"] = (403, "No.")
    assert (await refused(ada, branchName="next"))["message"] == "ada/engine has no branch named next."


async def test_a_head_at_a_commit_is_cloned_and_told(ada: Client, server: RunningServer, served: GitServer) -> None:
    bare = served.add(FILES)
    commit = git(bare, "commit-tree", "-p", "main", "-m", "Aside", "main^{tree}").strip()
    git(bare, "update-ref", "--no-deref", "HEAD", commit)
    found, said = await started(ada)
    note = f"Git's HEAD names no branch: its commit {commit[:12]} was cloned."
    assert (found["branchName"], said) == (None, [note, READY])
    assert head_of(server, found) == f"{commit}\n"


async def test_where_gits_head_names_nothing_the_providers_word_is_taken(
    ada: Client, server: RunningServer, served: GitServer
) -> None:
    bare = served.add(FILES, branches=("main", "next"))
    git(bare, "symbolic-ref", "HEAD", "refs/heads/nothing")
    served.described["ada/engine"] = {"default_branch": "next"}
    found, said = await started(ada)
    note = "Git's default branch, nothing, does not exist: next was cloned, the provider's."
    assert (found["branchName"], said) == ("next", [note, READY])
    assert head_of(server, found) == "ref: refs/heads/next\n"


@pytest.mark.parametrize("word", ["nothing", "absent", None])
async def test_where_neither_names_a_branch_that_is_there_one_is_asked_for(
    ada: Client, server: RunningServer, served: GitServer, word: str | None
) -> None:
    bare = served.add(FILES, branches=("main",))
    git(bare, "symbolic-ref", "HEAD", "refs/heads/nothing")
    served.described["ada/engine"] = {"default_branch": word}
    message = "The repository's default branch is nothing, which does not exist: name one of its branches."
    assert await failed(ada) == reason(message)
    found, _ = await started(ada, branch="main")
    assert (workspace(server, found) / "README.md").read_text() == "An engine.\n"


async def test_a_repository_that_moved_is_cloned_from_its_new_place(
    ada: Client, server: RunningServer, served: GitServer
) -> None:
    bare = served.add(FILES)
    served.described |= {name: {"id": 77} for name in ("ada/engine", "byron/motor")}
    seen = (await ada.execute(FIND, name="ada/engine"))["repository"]["id"]
    (served.root / "byron").mkdir()
    bare.rename(served.root / "byron" / "motor.git")
    served.moved["ada/engine"] = "byron/motor"
    found, said = await started(ada, repository={"id": seen})
    url = served.url("byron/motor")
    assert said == [f"ada/engine has moved to {url}, which is cloned.", READY]
    assert found["repository"] == {"id": seen, "nameWithOwner": "byron/motor"}
    assert f"\n\turl = {url}\n" in (workspace(server, found) / ".git" / "config").read_text()
    # Its old name leads there at once, and so does its id.
    served.requests.clear()
    again, said = await started(ada)
    assert (again["repository"], said) == (found["repository"], [READY])
    assert [request for request in served.requests if "engine" in request] == []


async def test_another_repository_under_an_old_name_is_not_cloned_for_the_first(ada: Client, served: GitServer) -> None:
    served.add(FILES)
    served.described["ada/engine"] = {"id": 77}
    seen = (await ada.execute(FIND, name="ada/engine"))["repository"]["id"]
    served.described["ada/engine"] = {"id": 78}
    served.faults["ada/engine"] = (404, "Not Found")
    message = "ada/engine was moved or deleted, and another repository has its name now."
    assert await failed(ada, repository={"id": seen}) == reason(message)


async def test_a_move_to_another_host_is_not_followed(ada: Client, served: GitServer, host: GitServer) -> None:
    served.add(FILES)
    host.add(FILES)
    served.redirect_to = host.origin
    try:
        assert await failed(ada) == reason("The git host redirects, which is not followed.")
    finally:
        served.redirect_to = None
    assert host.requests == []


async def test_a_repository_that_neither_knows_any_more_is_told(ada: Client, served: GitServer) -> None:
    bare = served.add(FILES)
    seen = (await ada.execute(FIND, name="ada/engine"))["repository"]["id"]
    bare.rename(served.root / "gone")
    message = "The git host knows no such repository, or the token may not read it."
    assert await failed(ada, repository={"id": seen}) == reason(message)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_token_for_the_api_alone_is_told_as_that(ada: Client, served: GitServer, status: int) -> None:
    served.add(FILES)
    served.faults["ada/engine"] = (status, "Write access to repository not granted.")
    message = "The token may see ada/engine, but not read its contents: give it that scope."
    assert await failed(ada) == reason(message)


async def test_a_conversation_without_contents_starts_once_the_token_has_the_scope(
    ada: Client, served: GitServer
) -> None:
    served.add(FILES)
    served.described["ada/engine"] = {"default_branch": "master"}
    served.faults["ada/engine"] = (403, "No.")
    conversation = await steps.create(ada, repository=named())
    assert conversation["status"] == "STARTING"
    await steps.until(ada, conversation["id"], status="ERROR")
    assert (await shown(ada, conversation["id"]))["branchName"] == "master"
    served.faults.clear()
    await ada.execute(documents.START, input={"id": conversation["id"]})
    await steps.until_waiting(ada, conversation["id"])
    assert (await shown(ada, conversation["id"]))["branchName"] == "main"


async def test_no_address_of_an_answer_is_called(ada: Client, served: GitServer, host: GitServer) -> None:
    served.add(FILES)
    host.add(FILES)
    evil = host.url()
    served.described["ada/engine"] = {
        "clone_url": evil,
        "git_url": evil,
        "html_url": evil,
        "ssh_url": evil,
        "url": evil,
    }
    _, said = await started(ada)
    assert (said, host.requests) == ([READY], [])


@pytest.mark.parametrize("name", ["../../etc", "//127.0.0.1:9/x", "ada/engine@127.0.0.1:9", "ada/engine?x=#y"])
async def test_a_name_in_an_answer_leads_to_no_other_host(
    ada: Client, served: GitServer, host: GitServer, name: str
) -> None:
    served.add(FILES)
    served.described["ada/engine"] = {"full_name": name.replace("127.0.0.1:9", host.host)}
    conversation = await steps.create(ada, repository=named())
    await steps.until(ada, conversation["id"], status="ERROR")
    assert host.requests == []


async def test_an_archived_repository_is_cloned(ada: Client, served: GitServer) -> None:
    served.add(FILES)
    served.described["ada/engine"] = {"archived": True, "disabled": False}
    found, said = await started(ada)
    assert (found["branchName"], said) == ("main", [READY])


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, '{"message": "Repository access blocked", "block": {"reason": "tos"}}'),
        (403, '{"message": "Access to this repository has been disabled by staff."}'),
        (451, '{"message": "Unavailable"}'),
    ],
)
async def test_a_repository_that_the_provider_disabled_is_told_as_that(
    ada: Client, served: GitServer, status: int, body: str
) -> None:
    served.add(FILES)
    served.api_faults["ada/engine"] = (status, body)
    error = await refused(ada)
    assert error["code"] == "GIT_PROVIDER_UNAVAILABLE"
    assert error["message"] == "GITHUB can't be used now. It has disabled access to this repository or account."


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (403, "Access to repository 'engine' has been disabled by staff.\n"),
        (403, "Your account is suspended.\n"),
        (451, "Unavailable.\n"),
    ],
)
async def test_a_repository_that_git_has_disabled_is_told_as_that(
    ada: Client, served: GitServer, status: int, text: str
) -> None:
    served.add(FILES)
    served.faults["ada/engine"] = (status, text)
    assert await failed(ada) == reason("The git host has disabled access to this repository.")
