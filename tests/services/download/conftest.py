"""A server whose workspaces are downloaded, with a clock that tests set forward."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.git_server import GitServer, git_server
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer, running_server

FILES = {"README.md": "An engine.\n", "src/main.py": "print('hello')\n", "old.txt": "one\ntwo\nthree\n"}


class MovedClock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture(scope="module")
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as served:
        served.token = TOKEN
        served.add(FILES)
        yield served


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, git_host: GitServer, clock: MovedClock) -> Iterator[RunningServer]:
    provider = FakeGitProvider(found=[repository(1, "ada/engine")], clone_url=git_host.url())
    with running_server(
        data_dir,
        database_url=database_url,
        clock=clock,
        git_providers={ProviderType.GITHUB: provider},
        git_private_hosts=git_host.origin,
        max_download_bytes=64 * 1024 * 1024,
        max_transfers_per_caller=2,
        send_timeout_seconds=1.0,
    ) as running:
        yield running


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM) -> Client:
    """A caller with settings and a token."""
    await steps.save_settings(client, llm)
    await client.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": TOKEN})
    return client
