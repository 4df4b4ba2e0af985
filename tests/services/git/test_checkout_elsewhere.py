"""Where GitLab's or Bitbucket's word and git disagree: git's is right, as with GitHub (``test_checkout.py``)."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.git_server import TOKEN, GitServer, git, git_server
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
FILES = {"README.md": "An engine.\n"}
SHOWN = """query ($id: ID!) {
  conversation(id: $id) { branchName repository { id nameWithOwner } statusReason { code message } }
}"""
FIND = """query ($provider: ProviderType!, $name: String!) {
  repository(provider: $provider, nameWithOwner: $name) { id isPrivate url }
}"""
READY = "The workspace is ready."
OTHERS = (ProviderType.GITLAB, ProviderType.BITBUCKET)


@dataclass(frozen=True, slots=True)
class Ada:
    """A caller with settings and a token for a provider's host."""

    client: Client
    host: GitServer
    server: RunningServer

    def says(self, branch: str | None) -> JSON:
        """What the API describes a repository with whose default branch it takes for that."""
        if self.host.provider is ProviderType.GITLAB:
            return {"default_branch": branch}
        return {"mainbranch": None if branch is None else {"type": "branch", "name": branch}}

    async def find(self, name: str = "ada/engine") -> JSON:
        """The repository that has the name."""
        found = await self.client.execute(FIND, provider=self.host.provider.name, name=name)
        return cast("JSON", found["repository"])

    async def create(self, branch: str | None = None, **by: object) -> JSON:
        """The payload of a conversation about the repository."""
        name = {"byName": {"provider": self.host.provider.name, "nameWithOwner": "ada/engine"}}
        message = {"text": "Hello"}
        given = {"initialMessage": message, "title": "T", "repository": by or name, "branchName": branch}
        return cast("JSON", (await self.client.execute(documents.CREATE, input=given))["createConversation"])

    async def started(self, branch: str | None = None, **by: object) -> tuple[JSON, list[str]]:
        """A conversation that waits for its user, and what the environment told after the clone began."""
        created = await self.create(branch, **by)
        assert created["userErrors"] == []
        conversation_id = created["conversation"]["id"]
        await steps.until_waiting(self.client, conversation_id)
        told = [text for source, text in await steps.said(self.client, conversation_id) if source == "ENVIRONMENT"]
        return await self.shown(conversation_id), told[2:]

    async def failed(self, branch: str | None = None, **by: object) -> str:
        """Why a conversation could not start."""
        created = await self.create(branch, **by)
        assert created["userErrors"] == []
        await steps.until(self.client, created["conversation"]["id"], status="ERROR")
        reason = (await self.shown(created["conversation"]["id"]))["statusReason"]
        assert reason["code"] == "WORKSPACE_ERROR"
        return cast("str", reason["message"])

    async def shown(self, conversation_id: str) -> JSON:
        """The conversation as far as it tells of git."""
        found = (await self.client.execute(SHOWN, id=conversation_id))["conversation"]
        return cast("JSON", {**found, "id": conversation_id})

    def clone(self, conversation: JSON) -> Path:
        """Its workspace."""
        return self.server.config.data_dir / "workspaces" / str(conversation["id"])


@contextmanager
def hosts(root: Path) -> Generator[dict[ProviderType, GitServer]]:
    """A host of each provider."""
    with ExitStack() as stack:
        yield {each: stack.enter_context(git_server(root / each.name, each)) for each in OTHERS}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[ProviderType, GitServer]]:
    """The hosts that the server of this module may ask: their repositories are swapped for each test."""
    with hosts(tmp_path_factory.mktemp("hosted")) as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, hosted: dict[ProviderType, GitServer]) -> Iterator[RunningServer]:
    origins = ",".join(host.origin for host in hosted.values())
    with running_server(tmp_path_factory.mktemp("data"), git_private_hosts=origins) as started:
        yield started


@pytest.fixture(params=OTHERS)
async def ada(
    request: pytest.FixtureRequest,
    client: Client,
    server: RunningServer,
    hosted: dict[ProviderType, GitServer],
    tmp_path: Path,
) -> Ada:
    host = hosted[request.param]
    host.root = tmp_path / "served"
    host.root.mkdir()
    for told in (host.described, host.listed, host.moved, host.faults, host.api_faults):
        told.clear()
    host.requests.clear()
    await steps.save_settings(client)
    given = {"provider": host.provider.name, "token": TOKEN, "host": host.host}
    answer = await client.execute(documents.SET_TOKEN, input=given)
    assert answer["setProviderToken"]["userErrors"] == []
    return Ada(client, host, server)


@pytest.mark.parametrize(
    ("word", "head", "note"),
    [
        ("main", "main", []),
        ("master", "main", ["Git's default branch is main, which was cloned; the provider says master."]),
        (None, "trunk", ["Git's default branch is trunk, which was cloned; the provider names none."]),
        ("y" * 300, "ünï/#1", ["Git's default branch is ünï/#1, which was cloned; the provider names none."]),
    ],
)
async def test_the_default_branch_is_what_gits_head_names(
    ada: Ada, word: str | None, head: str, note: list[str]
) -> None:
    bare = ada.host.add(FILES, branches=(head, "master"))
    git(bare, "symbolic-ref", "HEAD", f"refs/heads/{head}")
    ada.host.described["ada/engine"] = ada.says(word)

    found, said = await ada.started()

    assert (found["branchName"], said) == (head, [*note, READY])
    assert (ada.clone(found) / ".git" / "HEAD").read_text() == f"ref: refs/heads/{head}\n"
    assert (ada.clone(found) / "README.md").read_text() == "An engine.\n"
    seen = await ada.find()
    assert (seen["isPrivate"], seen["url"]) == (True, f"{ada.host.origin}/ada/engine")


@pytest.mark.parametrize("ada", [ProviderType.GITLAB], indirect=True)
async def test_a_project_in_groups_of_groups_is_cloned(ada: Ada) -> None:
    name = "ada/works/engines/engine"
    ada.host.add(FILES, name, branches=("main", "next"))
    by_name = {"provider": "GITLAB", "nameWithOwner": name}
    found, said = await ada.started("next", byName=by_name)
    assert (found["branchName"], found["repository"]["nameWithOwner"], said) == ("next", name, [READY])
    created = await ada.create("absent", byName=by_name)
    assert [error["message"] for error in created["userErrors"]] == [f"{name} has no branch named absent."]


@pytest.mark.parametrize("word", ["main", None])
async def test_a_repository_without_branches_starts_empty(ada: Ada, word: str | None) -> None:
    ada.host.add({})
    ada.host.described["ada/engine"] = ada.says(word)
    found, said = await ada.started()
    note = "The repository has no commits yet: the workspace is an empty clone."
    assert (found["branchName"], said) == (None, [note, READY])
    assert [path.name for path in ada.clone(found).iterdir()] == [".git"]


async def test_a_branch_that_is_listed_and_gone_is_named(ada: Ada) -> None:
    git(ada.host.add(FILES), "tag", "v1", "main")
    ada.host.listed["ada/engine"] = ("main", "gone", "v1")
    for branch in ("gone", "v1"):
        assert await ada.failed(branch) == f"The repository has no branch named {branch}."


async def test_a_branch_that_the_provider_does_not_know_is_cloned_where_git_has_it(ada: Ada) -> None:
    ada.host.add(FILES, branches=("main", "feature/ünï#1"))
    ada.host.listed["ada/engine"] = ("main",)
    found, said = await ada.started("feature/ünï#1")
    assert (found["branchName"], said) == ("feature/ünï#1", [READY])


async def test_a_branch_that_neither_knows_is_refused(ada: Ada) -> None:
    ada.host.add(FILES)
    created = await ada.create("absent")
    [error] = created["userErrors"]
    assert (created["conversation"], error["code"], error["path"]) == (None, "INVALID_INPUT", ["branchName"])
    assert error["message"] == "ada/engine has no branch named absent."
    assert await ada.client.execute("{ conversations { totalCount } }") == {"conversations": {"totalCount": 0}}


async def test_a_default_branch_that_was_renamed_or_is_gone_is_told(ada: Ada) -> None:
    bare = ada.host.add(FILES, branches=("main", "next"))
    git(bare, "symbolic-ref", "HEAD", "refs/heads/nothing")
    ada.host.described["ada/engine"] = ada.says("next")
    found, said = await ada.started()
    note = "Git's default branch, nothing, does not exist: next was cloned, the provider's."
    assert (found["branchName"], said) == ("next", [note, READY])
    for word in ("nothing", "absent", None):
        ada.host.described["ada/engine"] = ada.says(word)
        assert await ada.failed() == (
            "The repository's default branch is nothing, which does not exist: name one of its branches."
        )


async def test_a_repository_that_moved_is_cloned_from_its_new_place(ada: Ada) -> None:
    bare = ada.host.add(FILES)
    ada.host.described |= {name: {"id": 77, "uuid": "{77}"} for name in ("ada/engine", "byron/motor")}
    seen = (await ada.find())["id"]
    (ada.host.root / "byron").mkdir()
    bare.rename(ada.host.root / "byron" / "motor.git")
    ada.host.moved["ada/engine"] = "byron/motor"
    found, said = await ada.started(id=seen)
    url = ada.host.url("byron/motor")
    assert said == [f"ada/engine has moved to {url}, which is cloned.", READY]
    assert found["repository"] == {"id": seen, "nameWithOwner": "byron/motor"}
    # Its old name leads there, too.
    again, said = await ada.started()
    assert (again["repository"], said) == (found["repository"], [READY])


async def test_another_repository_under_an_old_name_is_not_cloned_for_the_first(ada: Ada) -> None:
    ada.host.add(FILES)
    ada.host.described["ada/engine"] = {"id": 77, "uuid": "{77}"}
    seen = (await ada.find())["id"]
    ada.host.described["ada/engine"] = {"id": 78, "uuid": "{78}"}
    ada.host.faults["ada/engine"] = (404, "Not Found")
    assert await ada.failed(id=seen) == "ada/engine was moved or deleted, and another repository has its name now."


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_token_for_the_api_alone_is_told_as_that(ada: Ada, status: int) -> None:
    ada.host.add(FILES)
    ada.host.faults["ada/engine"] = (status, "HTTP Basic: Access denied.")
    assert await ada.failed() == "The token may see ada/engine, but not read its contents: give it that scope."


async def test_a_repository_that_neither_knows_any_more_is_told(ada: Ada) -> None:
    bare = ada.host.add(FILES)
    seen = (await ada.find())["id"]
    bare.rename(ada.host.root / "gone")
    assert await ada.failed(id=seen) == "The git host knows no such repository, or the token may not read it."
    created = await ada.create()
    assert [(error["code"], error["path"]) for error in created["userErrors"]] == [("NOT_FOUND", ["repository"])]


async def test_no_address_of_an_answer_is_called(ada: Ada, tmp_path: Path) -> None:
    ada.host.add(FILES)
    with git_server(tmp_path / "elsewhere") as elsewhere:
        elsewhere.add(FILES)
        evil = elsewhere.url()
        links = {"clone": [{"name": "https", "href": evil}], "html": {"href": evil}}
        ada.host.described["ada/engine"] = {"http_url_to_repo": evil, "web_url": evil, "links": links}
        _, said = await ada.started()
        assert said == [READY]
        # Nor is a redirect of git's followed there.
        ada.host.redirect_to = elsewhere.origin
        try:
            assert await ada.failed() == "The git host redirects, which is not followed."
        finally:
            ada.host.redirect_to = None
        assert elsewhere.requests == []
