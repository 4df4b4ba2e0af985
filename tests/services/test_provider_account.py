"""Tokens for git providers: asked about before they are stored, never shown."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client, RequestFailed
from tests.support.fake_git import OTHER_HOST, PUBLIC_HOST, TOKEN, FakeGitProvider
from tests.support.server import RunningServer, running_server
from tests.support.statements import counted

JSON = dict[str, Any]
ACCOUNTS = "{ settings { providerAccounts { id provider host login tokenSet } } }"


@pytest.fixture(scope="module")
def provider() -> FakeGitProvider:
    return FakeGitProvider()


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, provider: FakeGitProvider) -> Iterator[RunningServer]:
    providers = {ProviderType.GITHUB: provider}
    with running_server(data_dir, database_url=database_url, git_providers=providers) as started:
        yield started


@pytest.fixture(autouse=True)
def provider_at_work(provider: FakeGitProvider) -> None:
    provider.is_down = False
    provider.retry_at = None
    provider.owner = "ada"
    provider.calls.clear()


async def set_token(client: Client, token: str = TOKEN, host: str | None = None) -> JSON:
    given = {"provider": "GITHUB", "token": token, "host": host}
    return cast("JSON", (await client.execute(documents.SET_TOKEN, input=given))["setProviderToken"])


async def accounts(client: Client) -> list[JSON]:
    settings = (await client.execute(ACCOUNTS))["settings"]
    return cast("list[JSON]", settings["providerAccounts"])


async def test_a_token_is_asked_about_and_stored(client: Client) -> None:
    await steps.save_settings(client)
    assert await accounts(client) == []
    answer = await set_token(client)
    [account] = await accounts(client)
    assert answer["userErrors"] == []
    assert answer["providerAccount"] == account
    assert answer["settings"]["providerAccounts"] == [account]
    assert account.pop("id").startswith("provider_account:")
    assert account == {"provider": "GITHUB", "host": None, "login": "ada", "tokenSet": True}


async def test_a_token_can_be_stored_before_settings_are(client: Client) -> None:
    answer = await set_token(client)
    assert answer["providerAccount"]["login"] == "ada"
    assert answer["settings"] is None
    await steps.save_settings(client)
    assert [account["login"] for account in await accounts(client)] == ["ada"]


async def test_a_refused_token_is_not_stored(client: Client) -> None:
    await steps.save_settings(client)
    answer = await set_token(client, "another-token-0123456789")
    [error] = answer["userErrors"]
    assert (error["__typename"], error["messageId"]) == (
        "GitProviderAuthenticationError",
        "STATUS$GIT_PROVIDER_AUTHENTICATION_ERROR",
    )
    assert (answer["providerAccount"], await accounts(client)) == (None, [])


async def test_a_refused_token_leaves_the_one_before(client: Client) -> None:
    await steps.save_settings(client)
    await set_token(client)
    before = await accounts(client)
    await set_token(client, "another-token-0123456789")
    assert await accounts(client) == before


async def test_a_provider_that_is_down_is_said(client: Client, provider: FakeGitProvider) -> None:
    await steps.save_settings(client)
    provider.is_down = True
    [error] = (await set_token(client))["userErrors"]
    assert (error["__typename"], error["code"]) == ("GitProviderUnavailableError", "GIT_PROVIDER_UNAVAILABLE")
    assert await accounts(client) == []


async def test_a_rate_limit_is_said_with_its_end(client: Client, provider: FakeGitProvider) -> None:
    provider.is_down, provider.retry_at = True, datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    document = """mutation ($input: SetProviderTokenInput!) { setProviderToken(input: $input) {
      userErrors { ... on GitProviderUnavailableError { provider retryAt } }
    } }"""
    answer = (await client.execute(document, input={"provider": "GITHUB", "token": TOKEN}))["setProviderToken"]
    assert answer["userErrors"] == [{"provider": "GITHUB", "retryAt": "2031-02-03T04:05:06+00:00"}]


@pytest.mark.parametrize("owner", ["x" * 201, "a\x00b"])
async def test_a_login_that_cannot_be_kept_is_not(client: Client, provider: FakeGitProvider, owner: str) -> None:
    await steps.save_settings(client)
    provider.owner = owner
    [error] = (await set_token(client))["userErrors"]
    assert error["code"] == "GIT_PROVIDER_UNAVAILABLE"
    assert await accounts(client) == []


async def test_accounts_of_settings_that_are_named_often_are_read_once(client: Client, server: RunningServer) -> None:
    settings = await steps.save_settings(client)
    await set_token(client)
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Settings { providerAccounts { login } } } }"
    with counted(server) as statements:
        nodes = (await client.execute(query, ids=[settings["id"]] * 100))["nodes"]
    assert nodes == [{"providerAccounts": [{"login": "ada"}]}] * 100
    assert len(statements) == 2


@pytest.mark.parametrize(
    ("token", "host", "path"),
    [
        ("", None, ["token"]),
        (" \n", None, ["token"]),
        (TOKEN, "elsewhere.example", ["host"]),
        (TOKEN, "x" * 261, ["host"]),
    ],
)
async def test_bad_input_asks_nobody(
    client: Client, provider: FakeGitProvider, token: str, host: str | None, path: list[str]
) -> None:
    [error] = (await set_token(client, token, host))["userErrors"]
    assert (error["__typename"], error["path"]) == ("InvalidInputError", path)
    assert provider.calls == []


@pytest.mark.parametrize(
    ("host", "stored"), [(PUBLIC_HOST, None), (f" {OTHER_HOST.upper()} ", OTHER_HOST), ("  ", None), (None, None)]
)
async def test_a_host_of_ones_own_is_kept_and_the_public_one_is_null(
    client: Client, provider: FakeGitProvider, host: str | None, stored: str | None
) -> None:
    assert (await set_token(client, host=host))["providerAccount"]["host"] == stored
    assert provider.accesses[-1].host == stored


async def test_a_second_token_takes_the_place_of_the_first(client: Client) -> None:
    first = (await set_token(client))["providerAccount"]
    second = (await set_token(client, host=OTHER_HOST))["providerAccount"]
    assert (first["id"], second["host"]) == (second["id"], OTHER_HOST)


async def test_a_removed_token_is_gone(client: Client, stranger: Client) -> None:
    await steps.save_settings(client)
    account = (await set_token(client))["providerAccount"]
    others = (await set_token(stranger))["providerAccount"]
    given = {"input": {"provider": "GITHUB"}}
    answer = (await client.execute(documents.REMOVE_TOKEN, **given))["removeProviderToken"]
    assert answer["deletedProviderAccountId"] == account["id"]
    assert answer["settings"]["providerAccounts"] == []
    again = (await client.execute(documents.REMOVE_TOKEN, **given))["removeProviderToken"]
    assert [error["__typename"] for error in again["userErrors"]] == ["NotFoundError"]
    node = "query ($id: ID!) { node(id: $id) { __typename id } }"
    assert (await client.execute(node, id=account["id"]))["node"] is None
    assert (await stranger.execute(node, id=others["id"]))["node"]["__typename"] == "ProviderAccount"


async def test_a_reset_of_the_settings_keeps_the_token(client: Client) -> None:
    await steps.save_settings(client)
    await set_token(client)
    await client.execute("mutation { resetSettings { deletedSettingsId } }")
    await steps.save_settings(client)
    assert len(await accounts(client)) == 1


async def test_a_token_cannot_be_read_back(client: Client) -> None:
    await set_token(client)
    with pytest.raises(RequestFailed, match="Cannot query field"):
        await client.execute("{ settings { providerAccounts { token } } }")
