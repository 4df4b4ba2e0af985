"""Suggested tasks as the three git providers tell of them: one contract, and what each can't tell."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from pydantic import SecretStr

from app.config import load_config
from app.errors import GitProviderAuthentication, GitProviderUnavailable
from app.models.provider_account import ProviderType
from app.services.git.base import GitAccess, GitProvider, RemoteTask, TaskKind
from app.services.git.providers import providers
from tests.support.git_hosts import Fault, GitHost, git_host
from tests.support.hosted_tasks import HostedTask

NOTHING_TO_DO = HostedTask(1, checks="SUCCESS", resolved=2)
REQUESTS = {ProviderType.GITHUB: 1, ProviderType.GITLAB: 2}


async def never(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """Resolves nothing: the host is an address."""
    raise AssertionError((host, port))


@pytest.fixture(params=list(ProviderType))
def host(request: pytest.FixtureRequest) -> Iterator[GitHost]:
    with git_host(request.param) as started:
        started.tokens["good"] = "ada"
        started.add_repository("ada/engine", members=frozenset({"ada"}))
        yield started


@pytest.fixture
async def provider(host: GitHost) -> AsyncGenerator[GitProvider]:
    async def sleep(_seconds: float) -> None:
        """Do not wait between attempts."""

    config = load_config(env_file=None, git_private_hosts=f"http://{host.host}", git_timeout_seconds=10)
    built = providers(config, resolve=never, sleep=sleep)
    yield built[host.provider]
    for each in built.values():
        await each.close()


async def tasks_of(provider: GitProvider, host: GitHost, token: str = "good") -> list[RemoteTask]:
    return await provider.suggested_tasks(GitAccess(host.host, SecretStr(token)))


async def test_a_pull_request_has_the_most_blocking_of_its_kinds(provider: GitProvider, host: GitHost) -> None:
    host.tasks = [
        HostedTask(4, has_conflicts=True, checks="FAILURE", unresolved=1),
        HostedTask(3, checks="FAILURE", unresolved=1),
        HostedTask(2, checks="SUCCESS", unresolved=1, resolved=1),
        NOTHING_TO_DO,
    ]
    kinds = [TaskKind.MERGE_CONFLICTS, TaskKind.FAILING_CHECKS, TaskKind.UNRESOLVED_COMMENTS]
    if host.provider is ProviderType.BITBUCKET:
        # It tells of no conflicts.
        kinds[0] = TaskKind.FAILING_CHECKS
    assert [(task.number, task.kind) for task in await tasks_of(provider, host)] == list(
        zip([4, 3, 2], kinds, strict=True)
    )


async def test_it_says_where_the_pull_request_comes_from_and_goes_to(provider: GitProvider, host: GitHost) -> None:
    host.tasks = [HostedTask(7, title="Mend it", checks="FAILURE", branch="a/b", head="bob/fork")]
    paths = {
        ProviderType.GITHUB: "pull/7",
        ProviderType.GITLAB: "-/merge_requests/7",
        ProviderType.BITBUCKET: "pull-requests/7",
    }
    url = f"http://{host.host}/ada/engine/{paths[host.provider]}"
    task = RemoteTask(TaskKind.FAILING_CHECKS, "ada/engine", 7, "Mend it", url, "bob/fork", "a/b", "main")
    assert await tasks_of(provider, host) == [task]


async def test_issues_come_after_pull_requests_where_the_provider_lists_them(
    provider: GitProvider, host: GitHost
) -> None:
    host.tasks = [HostedTask(5, is_issue=True, title="Broken"), HostedTask(6, checks="FAILURE")]
    found = await tasks_of(provider, host)
    if host.provider is ProviderType.BITBUCKET:
        assert [task.number for task in found] == [6]
        return
    assert [task.number for task in found] == [6, 5]
    path = "issues/5" if host.provider is ProviderType.GITHUB else "-/issues/5"
    url = f"http://{host.host}/ada/engine/{path}"
    assert found[1] == RemoteTask(TaskKind.OPEN_ISSUE, "ada/engine", 5, "Broken", url, "ada/engine")


async def test_another_persons_are_not_among_them(provider: GitProvider, host: GitHost) -> None:
    host.tasks = [HostedTask(1, owner="bob", checks="FAILURE"), HostedTask(2, owner="bob", is_issue=True)]
    assert await tasks_of(provider, host) == []


async def test_they_cost_a_bounded_number_of_requests(provider: GitProvider, host: GitHost) -> None:
    workspaces = [f"team{number}" for number in range(12)]
    for workspace in workspaces:
        host.add_repository(f"{workspace}/engine", members=frozenset({"ada"}))
    host.tasks = [
        HostedTask(number, repository=f"{workspace}/engine", checks="FAILURE")
        for workspace in workspaces
        for number in range(1, 30)
    ]
    found = await tasks_of(provider, host)
    # On Bitbucket: the user, the workspaces, five of those, and ten pull requests' builds.
    assert len(host.requests) == REQUESTS.get(host.provider, 2 + 5 + 10)
    assert len(found) == (10 if host.provider is ProviderType.BITBUCKET else 50)


@pytest.mark.parametrize(
    "odd",
    [
        HostedTask(2, checks="FAILURE", unresolved=1, head=None),
        HostedTask(2, checks="FAILURE", unresolved=1, head="no-owner"),
        HostedTask(2, checks="FAILURE", unresolved=1, repository="ada/.."),
        HostedTask(2, checks="FAILURE", unresolved=1, branch="--upload-pack=x"),
        HostedTask(2, checks="FAILURE", unresolved=1, branch="x" * 256),
        HostedTask(0, checks="FAILURE", unresolved=1),
        HostedTask(2**40, checks="FAILURE", unresolved=1),
        HostedTask(2, is_issue=True, repository="a b/c"),
    ],
    ids=lambda task: f"{task.number}-{task.repository}-{task.branch[:20]}-{task.head}",
)
async def test_a_malformed_one_hides_no_other(provider: GitProvider, host: GitHost, odd: HostedTask) -> None:
    host.tasks = [odd, HostedTask(1, checks="FAILURE")]
    assert [task.number for task in await tasks_of(provider, host)] == [1]


async def test_a_title_is_one_line_of_bounded_length_without_what_cant_be_stored(
    provider: GitProvider, host: GitHost
) -> None:
    host.tasks = [HostedTask(1, title="a\x00b\n\n c" + "d" * 1000, checks="FAILURE")]
    [task] = await tasks_of(provider, host)
    assert task.title.startswith("ab c")
    assert len(task.title) == 500


async def test_one_that_is_told_twice_comes_once(provider: GitProvider, host: GitHost) -> None:
    host.tasks = [HostedTask(1, checks="FAILURE")] * 2
    if host.provider is not ProviderType.BITBUCKET:
        assert len(await tasks_of(provider, host)) == 1


async def test_a_refused_token_is_an_authentication_error(provider: GitProvider, host: GitHost) -> None:
    with pytest.raises(GitProviderAuthentication):
        await tasks_of(provider, host, "bad")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b'{"data": null}', b'{"data": {"viewer": {}}}', b"[" * 100_000],
    ids=lambda body: body[:20].decode(),
)
async def test_an_answer_of_another_shape_is_an_outage(provider: GitProvider, host: GitHost, body: bytes) -> None:
    host.tasks = [replace(NOTHING_TO_DO)]
    host.faults = [Fault(200, body=body)] * 3
    with pytest.raises(GitProviderUnavailable):
        await tasks_of(provider, host)


async def test_a_token_of_too_few_scopes_is_an_authentication_error() -> None:
    with git_host(ProviderType.GITHUB) as host:
        host.tokens["good"] = "ada"
        host.faults = [Fault(200, body=b'{"data": null, "errors": [{"type": "INSUFFICIENT_SCOPES", "message": "x"}]}')]
        config = load_config(env_file=None, git_private_hosts=f"http://{host.host}")
        built = providers(config, resolve=never)
        with pytest.raises(GitProviderAuthentication):
            await tasks_of(built[ProviderType.GITHUB], host)
        for each in built.values():
            await each.close()
