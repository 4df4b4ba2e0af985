"""Git providers: one contract for all three, and what each does its own way."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

import pytest
from pydantic import SecretStr

from app.config import load_config
from app.errors import GitProviderAuthentication, GitProviderUnavailable, InvalidInput
from app.models.provider_account import ProviderType
from app.services.git.base import GitAccess, GitProvider, RemoteBranch, RemoteRepository, RepositorySort
from app.services.git.providers import providers
from tests.support.git_hosts import Fault, GitHost, git_host, sha_of

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NAME = "ada/engine"
MANY = [f"feature/{number:04}" for number in range(2500)]


@dataclass
class Side:
    """A provider, the host it asks, and how long it slept."""

    provider: GitProvider
    host: GitHost
    slept: list[float] = field(default_factory=list[float])

    def access(self, token: str | None = "good") -> GitAccess:
        return GitAccess(self.host.host, None if token is None else SecretStr(token))


async def never(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """Resolves nothing: a test that gets here asks a host that it should not."""
    raise AssertionError((host, port))


@pytest.fixture(params=list(ProviderType))
def host(request: pytest.FixtureRequest) -> Iterator[GitHost]:
    with git_host(request.param) as started:
        started.tokens["good"] = "ada"
        yield started


@pytest.fixture
async def side(host: GitHost) -> AsyncGenerator[Side]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    config = load_config(env_file=None, git_private_hosts=f"http://{host.host}", git_timeout_seconds=10)
    built = providers(config, resolve=never, clock=lambda: NOW, sleep=sleep)
    yield Side(built[host.provider], host, slept)
    for provider in built.values():
        await provider.close()


async def test_a_token_tells_whom_it_belongs_to(side: Side) -> None:
    assert await side.provider.login(side.access()) == "ada"


async def test_a_refused_token_is_an_authentication_error(side: Side) -> None:
    with pytest.raises(GitProviderAuthentication) as caught:
        await side.provider.login(side.access("bad"))
    assert caught.value.provider == side.host.provider
    assert [seen.status for seen in side.host.requests] == [401]


async def test_a_token_that_would_break_a_header_is_not_sent(side: Side) -> None:
    with pytest.raises(GitProviderAuthentication):
        await side.provider.login(side.access("good\r\nx: y"))
    assert side.host.requests == []


async def test_a_repository_is_told_of_without_credentials(side: Side) -> None:
    side.host.add_repository(NAME, members=frozenset({"ada"}), is_private=True)
    origin = f"http://{side.host.host}"
    assert await side.provider.repository(side.access(), NAME) == RemoteRepository(
        "1", NAME, f"{origin}/{NAME}", f"{origin}/{NAME}.git", is_private=True, default_branch_name="main"
    )
    assert await side.provider.repository(side.access(None), NAME) is None


async def test_an_empty_repository_has_no_default_branch(side: Side) -> None:
    side.host.add_repository(NAME, default_branch=None, branches=[])
    found = await side.provider.repository(side.access(None), NAME)
    assert found is not None
    assert found.default_branch_name is None


@pytest.mark.parametrize("name", ["", "HEAD", "a b", "--upload-pack=x", "a..b", "x" * 256, "x" * 100_000, "a\x00"])
async def test_a_default_branch_that_is_no_branchs_name_is_none_and_costs_no_list(side: Side, name: str) -> None:
    side.host.add_repository("ada/fine", members=frozenset({"ada"}))
    side.host.add_repository(NAME, members=frozenset({"ada"}), default_branch=name)
    page = await side.provider.repositories(side.access(), query=None, sort=RepositorySort.PUSHED, first=10, after=None)
    found = {edge.node.name_with_owner: edge.node.default_branch_name for edge in page.edges}
    assert found == {"ada/fine": "main", NAME: None}


@pytest.mark.parametrize("name", ["x" * 250, "ünï/код-#%&+;'\"$(x)<y>|`z`!,="])
async def test_odd_and_long_branches_are_told_as_they_are(side: Side, name: str) -> None:
    side.host.add_repository(NAME, default_branch=name, branches=[name])
    found = await side.provider.repository(side.access(None), NAME)
    assert found is not None
    assert found.default_branch_name == name
    assert await side.provider.branch(side.access(None), NAME, name) == RemoteBranch(name, sha_of(name), False)


@pytest.mark.parametrize("name", ["", "ada", "ada/..", "../engine", "ada/a?b", "ada/a#b", "ada//b", "a/" + "b" * 400])
async def test_a_malformed_name_is_refused_before_anyone_is_asked(side: Side, name: str) -> None:
    with pytest.raises(InvalidInput):
        await side.provider.repository(side.access(), name)
    assert side.host.requests == []


async def test_pages_of_changing_size_lose_and_double_nothing(side: Side) -> None:
    names = [f"ada/r{number:03}" for number in range(250)]
    for name in names:
        side.host.add_repository(name, members=frozenset({"ada"}))
    side.host.add_repository("bob/other")
    seen: list[str] = []
    after: str | None = None
    for first in [1, 99, 7, 100, 30, 100]:
        page = await side.provider.repositories(
            side.access(), query=None, sort=RepositorySort.FULL_NAME, first=first, after=after
        )
        seen += [edge.node.name_with_owner for edge in page.edges]
        after = page.edges[-1].cursor
        assert page.has_next_page == (len(seen) < 250)
    assert seen == names


async def test_a_page_costs_at_most_three_calls(side: Side) -> None:
    for number in range(250):
        side.host.add_repository(f"ada/r{number:03}", members=frozenset({"ada"}))
    ask = side.provider.repositories
    page = await ask(side.access(), query=None, sort=RepositorySort.PUSHED, first=50, after=None)
    side.host.requests.clear()
    await ask(side.access(), query=None, sort=RepositorySort.PUSHED, first=100, after=page.edges[-1].cursor)
    assert len(side.host.requests) <= 3


async def test_a_cursor_of_another_list_is_refused(side: Side) -> None:
    side.host.add_repository(NAME, members=frozenset({"ada"}))
    ask = side.provider.repositories
    page = await ask(side.access(), query=None, sort=RepositorySort.PUSHED, first=1, after=None)
    asked = len(side.host.requests)
    for cursor, sort in [(page.edges[0].cursor, RepositorySort.FULL_NAME), ("nonsense", RepositorySort.PUSHED)]:
        with pytest.raises(InvalidInput):
            await ask(side.access(), query="ada/x", sort=sort, first=1, after=cursor)
    assert len([seen for seen in side.host.requests[asked:] if not seen.path.endswith("/user/workspaces")]) == 0


async def test_own_repositories_need_a_token(side: Side) -> None:
    with pytest.raises(GitProviderAuthentication):
        await side.provider.repositories(side.access(None), query=None, sort=RepositorySort.PUSHED, first=1, after=None)
    assert side.host.requests == []


async def test_a_query_finds_own_repositories(side: Side) -> None:
    side.host.add_repository("ada/engine", members=frozenset({"ada"}), is_private=True)
    side.host.add_repository("ada/notes", members=frozenset({"ada"}))
    page = await side.provider.repositories(
        side.access(), query="engi", sort=RepositorySort.PUSHED, first=10, after=None
    )
    assert [edge.node.name_with_owner for edge in page.edges] == ["ada/engine"]
    assert not page.has_next_page


async def test_thousands_of_branches_are_searched(side: Side) -> None:
    side.host.add_repository(NAME, branches=["main", *MANY])
    page = await side.provider.branches(side.access(), NAME, query="/240", first=100, after=None)
    assert [edge.node.name for edge in page.edges] == MANY[2400:2410]
    assert not page.has_next_page
    assert len(side.host.requests) == 1


async def test_all_branches_are_paged_through(side: Side) -> None:
    side.host.add_repository(NAME, branches=MANY)
    seen: list[str] = []
    after: str | None = None
    while True:
        page = await side.provider.branches(side.access(), NAME, query=None, first=97, after=after)
        seen += [edge.node.name for edge in page.edges]
        after = page.edges[-1].cursor
        if not page.has_next_page:
            break
    assert seen == MANY


async def test_one_branch_is_found_by_its_whole_name(side: Side) -> None:
    side.host.add_repository(NAME, branches=["main", "fix/a#b%20c"])
    found = await side.provider.branch(side.access(), NAME, "fix/a#b%20c")
    assert found == RemoteBranch("fix/a#b%20c", sha_of("fix/a#b%20c"), is_protected=False)
    assert await side.provider.branch(side.access(), NAME, "fix") is None


async def test_what_did_not_change_is_not_fetched_again(side: Side) -> None:
    side.host.add_repository(NAME, members=frozenset({"ada"}), is_private=True)
    first = await side.provider.repository(side.access(), NAME)
    assert await side.provider.repository(side.access(), NAME) == first
    side.host.tokens["other"] = "bob"
    assert await side.provider.repository(side.access("other"), NAME) is None
    assert [seen.status for seen in side.host.requests] == [200, 304, 404]
    # Another token's request does not even let on that there is an answer.
    assert ["if-none-match" in seen.headers for seen in side.host.requests] == [False, True, False]


async def test_a_server_error_is_tried_again_and_a_third_one_told(side: Side) -> None:
    side.host.faults = [Fault(502), Fault(503)]
    assert await side.provider.login(side.access()) == "ada"
    assert side.slept == [0.2, 0.4]
    side.host.faults = [Fault(500)] * 3
    with pytest.raises(GitProviderUnavailable):
        await side.provider.login(side.access())
    assert [seen.status for seen in side.host.requests] == [502, 503, 200, 500, 500, 500]


async def test_a_refusal_is_not_tried_again(side: Side) -> None:
    side.host.faults = [Fault(403)]
    with pytest.raises(GitProviderAuthentication):
        await side.provider.login(side.access())
    assert len(side.host.requests) == 1


async def test_a_short_rate_limit_is_waited_for(side: Side) -> None:
    side.host.faults = [Fault(429, {"retry-after": "3"})]
    assert await side.provider.login(side.access()) == "ada"
    assert side.slept == [3.0]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, {"retry-after": "90"}),
        Fault(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) + 90)}),
        Fault(429, {"ratelimit-remaining": "0", "ratelimit-reset": str(int(NOW.timestamp()) + 90)}),
        Fault(403, {"retry-after": "90"}, b'{"message": "You have exceeded a secondary rate limit."}'),
    ],
)
async def test_a_long_rate_limit_is_told_with_its_end(side: Side, fault: Fault) -> None:
    side.host.faults = [fault]
    with pytest.raises(GitProviderUnavailable) as caught:
        await side.provider.login(side.access())
    assert caught.value.retry_at == NOW + timedelta(seconds=90)
    assert "2026-11-23 12:01:30 UTC" in caught.value.message
    assert side.slept == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"login": 5, "username": 5}'])
async def test_nonsense_is_an_outage(side: Side, body: bytes) -> None:
    side.host.faults = [Fault(200, {}, body)]
    with pytest.raises(GitProviderUnavailable):
        await side.provider.login(side.access())


async def test_an_answer_that_is_too_long_is_not_read_to_its_end(side: Side) -> None:
    side.host.faults = [Fault(200, {}, b" " * (8 * 1024 * 1024 + 1))]
    with pytest.raises(GitProviderUnavailable, match="too long"):
        await side.provider.login(side.access())


async def test_a_host_that_is_down_is_an_outage(side: Side) -> None:
    with git_host(side.host.provider) as other:
        gone = other.host
    config = load_config(env_file=None, git_private_hosts=f"http://{gone}")
    provider = providers(config)[side.host.provider]
    with pytest.raises(GitProviderUnavailable):
        await provider.login(GitAccess(gone, SecretStr("good")))
    await provider.close()


async def test_a_redirect_to_another_host_is_not_followed(side: Side) -> None:
    with git_host(side.host.provider) as other:
        side.host.faults = [Fault(301, {"location": f"{other.api}/user"})]
        with pytest.raises(GitProviderUnavailable, match="redirects"):
            await side.provider.login(side.access())
        assert other.requests == []


async def test_redirects_within_a_host_are_followed_three_times(side: Side) -> None:
    side.host.faults = [Fault(301, {"location": f"{side.host.api}/user"})] * 3
    assert await side.provider.login(side.access()) == "ada"
    side.host.faults = [Fault(302, {"location": f"{side.host.api}/user"})] * 4
    with pytest.raises(GitProviderUnavailable, match="too often"):
        await side.provider.login(side.access())


@pytest.mark.parametrize(
    "name", ["https://a.example", "a.example/x", "a@b.example", "a.example:99999", "", " ", "a_b", "[::1]", "é.example"]
)
async def test_what_is_no_host_is_refused(side: Side, name: str) -> None:
    with pytest.raises(InvalidInput):
        await side.provider.check_host(name or "/")


async def test_bitbucket_is_asked_at_no_other_host() -> None:
    provider = providers(load_config(env_file=None), resolve=never)[ProviderType.BITBUCKET]
    with pytest.raises(InvalidInput):
        await provider.check_host("bitbucket.example.com")
    await provider.close()


@pytest.mark.parametrize("host", [ProviderType.GITHUB], indirect=True)
async def test_github_finds_a_renamed_repository(side: Side) -> None:
    side.host.add_repository(NAME)
    side.host.moved["/api/v3/repos/ada/old"] = f"{side.host.api}/repos/{NAME}"
    found = await side.provider.repository(side.access(), "ada/old")
    assert found is not None
    assert found.name_with_owner == NAME


@pytest.mark.parametrize("host", [ProviderType.GITHUB], indirect=True)
async def test_github_is_searched_without_a_token_as_far_as_three_calls_reach(side: Side) -> None:
    side.host.add_repository(NAME, branches=MANY)
    page = await side.provider.branches(side.access(None), NAME, query="/0000", first=10, after=None)
    assert [edge.node.name for edge in page.edges] == ["feature/0000"]
    assert len(side.host.requests) == 3
    with pytest.raises(GitProviderAuthentication):
        await side.provider.branches(side.access(None), NAME, query="/2400", first=10, after=None)
    assert len(side.host.requests) == 6


@pytest.mark.parametrize("host", [ProviderType.GITLAB], indirect=True)
async def test_gitlab_nests_groups(side: Side) -> None:
    side.host.add_repository("group/part/deep/engine")
    found = await side.provider.repository(side.access(None), "group/part/deep/engine")
    assert found is not None
    assert side.host.requests[0].path == "/api/v4/projects/group%2Fpart%2Fdeep%2Fengine"


@pytest.mark.parametrize("host", [ProviderType.BITBUCKET], indirect=True)
async def test_bitbucket_goes_from_workspace_to_workspace(side: Side) -> None:
    for name in ["beta/b", "alpha/a", "gamma/c"]:
        side.host.add_repository(name, members=frozenset({"ada"}))
    page = await side.provider.repositories(side.access(), query=None, sort=RepositorySort.PUSHED, first=2, after=None)
    assert [edge.node.name_with_owner for edge in page.edges] == ["alpha/a", "beta/b"]
    assert page.has_next_page
    page = await side.provider.repositories(
        side.access(), query=None, sort=RepositorySort.PUSHED, first=2, after=page.edges[-1].cursor
    )
    assert [edge.node.name_with_owner for edge in page.edges] == ["gamma/c"]
    assert "/2.0/repositories" not in [seen.path for seen in side.host.requests]


@pytest.mark.parametrize("host", [ProviderType.BITBUCKET], indirect=True)
async def test_bitbucket_finds_public_repositories_of_a_named_workspace(side: Side) -> None:
    side.host.add_repository("beta/engine")
    side.host.add_repository("alpha/engine")
    page = await side.provider.repositories(
        side.access(None), query="beta/eng", sort=RepositorySort.PUSHED, first=5, after=None
    )
    assert [edge.node.name_with_owner for edge in page.edges] == ["beta/engine"]
    with pytest.raises(InvalidInput):
        await side.provider.repositories(
            side.access(), query="../user/x", sort=RepositorySort.PUSHED, first=5, after=None
        )


@pytest.mark.parametrize("host", [ProviderType.BITBUCKET], indirect=True)
async def test_bitbucket_takes_an_account_with_its_api_token(side: Side) -> None:
    side.host.tokens["ada@example.com:secret"] = "ada"
    access = side.access("ada@example.com:secret")
    assert await side.provider.login(access) == "ada"
    assert side.host.requests[0].headers["authorization"].startswith("Basic ")
    login = side.provider.git_login(access)
    assert login is not None
    assert (login[0], login[1].get_secret_value()) == ("x-bitbucket-api-token-auth", "secret")
