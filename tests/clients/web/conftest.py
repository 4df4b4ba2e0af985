"""A server for all tests of the front end, at which each test is a caller that nobody was before."""

from collections.abc import AsyncGenerator, Iterator

import pytest
from playwright.async_api import BrowserContext

from app.models.provider_account import ProviderType
from tests.support import steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.git_server import git_server
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer, running_server
from tests.support.window import Window, opened, sign_in


@pytest.fixture(scope="package")
def web_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The page is the same on every database, so one will do. GitLab's repository can be cloned, the others can't."""
    found = [repository(number) for number in range(1, 4)]
    providers = {kind: FakeGitProvider(kind, found) for kind in ProviderType}
    with git_server(tmp_path_factory.mktemp("served")) as git_host:
        git_host.token = TOKEN
        git_host.add({"README.md": "An engine.\n", "src/main.py": "print(1)\n"})
        providers[ProviderType.GITLAB] = FakeGitProvider(
            ProviderType.GITLAB, [repository(9, "ada/engine")], clone_url=git_host.url()
        )
        with running_server(
            tmp_path_factory.mktemp("data"),
            max_concurrent_conversations=20,
            git_providers=providers,
            git_private_hosts=git_host.origin,
        ) as started:
            yield started


@pytest.fixture
async def newcomer(web_server: RunningServer) -> AsyncGenerator[Client]:
    """A caller who has saved nothing yet."""
    async with Client(web_server) as client:
        yield client


@pytest.fixture
async def caller(newcomer: Client, llm: ScriptedLLM) -> Client:
    """A caller whose settings have the scripted LLM."""
    await steps.save_settings(newcomer, llm)
    return newcomer


@pytest.fixture
async def window(browser: BrowserContext, caller: Client) -> Window:
    """The caller's window."""
    await sign_in(browser, caller.token)
    return await opened(browser, caller.server.url)
