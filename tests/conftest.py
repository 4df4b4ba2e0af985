"""What every test may ask for."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import cast

import pytest
from playwright.async_api import BrowserContext, async_playwright

from tests.support.client import Client
from tests.support.playground import CHROMIUM, FLAGS, WAIT_MILLISECONDS
from tests.support.postgres import PostgresServer
from tests.support.scripted_llm import ScriptedLLM, echo
from tests.support.server import RunningServer, running_server

pytest_plugins = ("tests.support.postgres", "tests.support.tooled_agent")


@pytest.fixture(scope="session")
def scripted_llm() -> Iterator[ScriptedLLM]:
    """The scripted LLM of this process."""
    with ScriptedLLM() as llm:
        yield llm


@pytest.fixture
def llm(scripted_llm: ScriptedLLM) -> ScriptedLLM:
    """The scripted LLM without a script: it answers ``answer to <message>``."""
    scripted_llm.reset()
    scripted_llm.default = echo()
    return scripted_llm


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty database for one module: whoever asks for it runs on SQLite and on PostgreSQL."""
    yield from _empty_database(request, tmp_path_factory.mktemp("database"))


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database for one test, on SQLite and on PostgreSQL."""
    yield from _empty_database(request, tmp_path)


def _empty_database(request: pytest.FixtureRequest, directory: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{directory / 'parley.db'}"
    else:
        server = cast("PostgresServer", request.getfixturevalue("postgres_server"))
        with server.database() as url:
            yield url


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's data directory."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str) -> Iterator[RunningServer]:
    """A server for the tests of one module, on each database."""
    with running_server(data_dir, database_url=database_url) as started:
        yield started


@pytest.fixture
async def client(server: RunningServer) -> AsyncGenerator[Client]:
    """A caller that nobody else is."""
    async with Client(server) as caller:
        yield caller


@pytest.fixture
async def stranger(server: RunningServer) -> AsyncGenerator[Client]:
    """Another caller."""
    async with Client(server) as caller:
        yield caller


@pytest.fixture
async def browser() -> AsyncGenerator[BrowserContext]:
    """A window that has never been here before."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = await chromium.new_context(viewport={"width": 1400, "height": 900})
        context.set_default_timeout(WAIT_MILLISECONDS)
        yield context
        await chromium.close()
