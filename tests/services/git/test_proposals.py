"""Pull requests at the three providers: one contract, with refusals as each of them documents."""

import json
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from pydantic import SecretStr

from app.config import load_config
from app.errors import (
    ErrorCode,
    GitProviderAuthentication,
    GitProviderUnavailable,
    GitRefusal,
    GitScopeMissing,
    InvalidInput,
)
from app.models.provider_account import ProviderType
from app.models.pull_request import PullRequestState
from app.services.git.base import GitAccess, GitProvider, NewPullRequest
from app.services.git.providers import providers
from tests.support.git_hosts import Fault, GitHost, HostedRepository, git_host
from tests.support.pull_requests import Proposed, PullRequests

NAME = "ada/engine"
NEW = NewPullRequest("Fix it", "It was broken.", "fix/typo", "main", is_draft=False)
PAGES = {
    ProviderType.GITHUB: "/ada/engine/pull/1",
    ProviderType.GITLAB: "/ada/engine/-/merge_requests/1",
    ProviderType.BITBUCKET: "/ada/engine/pull-requests/1",
}
SCOPES = {
    ProviderType.GITHUB: ("repo", "Pull requests: write"),
    ProviderType.GITLAB: ("api",),
    ProviderType.BITBUCKET: ("pullrequest:write",),
}


async def never(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """Resolves nothing: a test that gets here asks a host that it should not."""
    raise AssertionError((host, port))


async def no_sleep(_seconds: float) -> None:
    """Do not wait."""


@pytest.fixture(params=list(ProviderType))
def host(request: pytest.FixtureRequest) -> Iterator[GitHost]:
    with git_host(request.param) as started:
        started.tokens["good"] = "ada"
        yield started


@pytest.fixture
def hosted(host: GitHost) -> HostedRepository:
    return host.add_repository(NAME, members=frozenset({"ada"}), is_private=True, branches=["main", "fix/typo"])


@pytest.fixture
def desk(hosted: HostedRepository) -> PullRequests:
    return hosted.pull_requests


@pytest.fixture
async def provider(host: GitHost) -> AsyncGenerator[GitProvider]:
    config = load_config(env_file=None, git_private_hosts=f"http://{host.host}", git_timeout_seconds=10)
    built = providers(config, resolve=never, sleep=no_sleep)
    yield built[host.provider]
    for each in built.values():
        await each.close()


@pytest.fixture
def access(host: GitHost) -> GitAccess:
    return GitAccess(host.host, SecretStr("good"))


async def test_a_pull_request_is_created_found_and_read(
    provider: GitProvider, access: GitAccess, desk: PullRequests, host: GitHost
) -> None:
    assert await provider.find_pull_request(access, NAME, "fix/typo", "main") is None
    created = await provider.create_pull_request(access, NAME, NEW)
    assert created is not None
    assert (created.number, created.state, created.title) == (1, PullRequestState.OPEN, "Fix it")
    assert (created.head_branch, created.base_branch, created.is_draft) == ("fix/typo", "main", False)
    # The address in the answer is not believed.
    assert created.url == f"http://{host.host}{PAGES[host.provider]}"
    assert desk.proposed == [Proposed(1, "Fix it", "It was broken.", "fix/typo", "main", is_draft=False)]
    assert await provider.find_pull_request(access, NAME, "fix/typo", "main") == created
    assert await provider.find_pull_request(access, NAME, "main", "fix/typo") is None
    assert await provider.pull_request(access, NAME, 1) == created
    assert await provider.pull_request(access, NAME, 2) is None


async def test_a_second_one_between_the_same_branches_is_told_as_that(
    provider: GitProvider, access: GitAccess, desk: PullRequests
) -> None:
    await provider.create_pull_request(access, NAME, NEW)
    assert await provider.create_pull_request(access, NAME, NEW) is None
    assert len(desk.proposed) == 1


async def test_a_draft_is_one(provider: GitProvider, access: GitAccess, host: GitHost) -> None:
    host.add_repository(NAME, branches=["main", "fix/typo"])
    created = await provider.create_pull_request(access, NAME, replace(NEW, is_draft=True))
    assert created is not None
    assert created.is_draft
    expected = "Draft: Fix it" if host.provider is ProviderType.GITLAB else "Fix it"
    assert created.title == expected


async def test_a_draft_s_longest_title_is_taken(
    provider: GitProvider, access: GitAccess, hosted: HostedRepository
) -> None:
    created = await provider.create_pull_request(access, NAME, replace(NEW, title="x" * 255, is_draft=True))
    assert created is not None
    assert len(created.title) == 255
    assert hosted.pull_requests.proposed[0].is_draft


@pytest.mark.parametrize(
    ("state", "expected"),
    [("open", PullRequestState.OPEN), ("closed", PullRequestState.CLOSED), ("merged", PullRequestState.MERGED)],
)
async def test_the_state_is_read(
    provider: GitProvider, access: GitAccess, desk: PullRequests, state: str, expected: PullRequestState
) -> None:
    await provider.create_pull_request(access, NAME, NEW)
    desk.proposed[0].state = state
    seen = await provider.pull_request(access, NAME, 1)
    assert seen is not None
    assert seen.state is expected
    is_open = state == "open"
    assert (await provider.find_pull_request(access, NAME, "fix/typo", "main") is not None) is is_open
    assert (await provider.create_pull_request(access, NAME, NEW) is None) is is_open


async def test_one_of_a_fork_is_another(provider: GitProvider, access: GitAccess, desk: PullRequests) -> None:
    desk.proposed.append(Proposed(1, "Theirs", "", "fix/typo", "main", is_draft=False, is_fork=True))
    assert await provider.find_pull_request(access, NAME, "fix/typo", "main") is None
    created = await provider.create_pull_request(access, NAME, NEW)
    assert created is not None
    assert created.number == 2


@pytest.mark.parametrize("has_commits", [True, False])
async def test_what_the_host_refuses_is_told_with_its_reason(
    provider: GitProvider, access: GitAccess, desk: PullRequests, *, has_commits: bool
) -> None:
    desk.are_ahead = lambda _head, _base: has_commits
    new = replace(NEW, base_branch="absent") if has_commits else NEW
    with pytest.raises(GitRefusal) as caught:
        await provider.create_pull_request(access, NAME, new)
    assert caught.value.code is ErrorCode.PULL_REQUEST_REFUSED
    assert ("No commits" in caught.value.message) is not has_commits
    assert has_commits is any(word in caught.value.message for word in ("base is invalid", "absent does not exist"))
    assert desk.proposed == []


async def test_a_scope_that_is_missing_is_named(
    provider: GitProvider, access: GitAccess, desk: PullRequests, host: GitHost
) -> None:
    desk.has_scope = False
    with pytest.raises(GitScopeMissing) as caught:
        await provider.create_pull_request(access, NAME, NEW)
    assert caught.value.scopes == SCOPES[host.provider]
    assert all(scope in caught.value.message for scope in caught.value.scopes)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(401), GitProviderAuthentication),
        (Fault(404), GitScopeMissing),
        (Fault(500), GitProviderUnavailable),
        (Fault(301, {"location": "http://127.0.0.1:1/"}), GitProviderUnavailable),
        (Fault(429, {"retry-after": "3600"}), GitProviderUnavailable),
        (Fault(403, {"x-ratelimit-remaining": "0", "ratelimit-remaining": "0"}), GitProviderUnavailable),
        (Fault(201, {}, b"[]"), GitProviderUnavailable),
        (Fault(201, {}, b'{"number": 0, "iid": 0, "id": 0}'), GitProviderUnavailable),
        (Fault(200, {}, b"{}"), GitProviderUnavailable),
        (Fault(422, {}, b"<html>"), GitRefusal),
        (Fault(400, {}, b'{"message": 5, "error": 5, "errors": 5}'), GitRefusal),
        (Fault(403, {}, b"\xff"), GitScopeMissing),
    ],
)
async def test_odd_answers_have_an_error_and_creation_is_tried_once(
    provider: GitProvider,
    access: GitAccess,
    desk: PullRequests,
    host: GitHost,
    fault: Fault,
    error: type[Exception],
) -> None:
    host.faults.append(fault)
    with pytest.raises(error):
        await provider.create_pull_request(access, NAME, NEW)
    assert [seen.method for seen in host.requests] == ["POST"]
    assert desk.proposed == []


async def test_a_long_reason_with_odd_characters_is_cut(
    provider: GitProvider, access: GitAccess, host: GitHost
) -> None:
    message = "\x1b[31mno\u202e " + "x" * 5000
    bodies = {
        ProviderType.GITHUB: {"message": message},
        ProviderType.GITLAB: {"message": [message]},
        ProviderType.BITBUCKET: {"type": "error", "error": {"message": message}},
    }
    host.add_repository(NAME)
    host.faults.append(Fault(422, {}, json.dumps(bodies[host.provider]).encode()))
    with pytest.raises(GitRefusal) as caught:
        await provider.create_pull_request(access, NAME, NEW)
    assert len(caught.value.message) < 400
    assert "\x1b" not in caught.value.message
    assert "\u202e" not in caught.value.message


@pytest.mark.usefixtures("hosted")
async def test_odd_names_do_not_change_what_is_asked(provider: GitProvider, access: GitAccess, host: GitHost) -> None:
    for branch in ("a b", "-x", "a..b", ""):
        with pytest.raises(InvalidInput):
            await provider.find_pull_request(access, NAME, branch, "main")
    with pytest.raises(InvalidInput):
        await provider.find_pull_request(access, "../x", "fix/typo", "main")
    assert host.requests == []
    assert await provider.find_pull_request(access, NAME, 'a"OR"b&state=all', "main") is None
