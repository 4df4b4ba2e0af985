"""Keys and tokens are nowhere but at their providers: not at rest, not in logs, events, errors or exports."""

import asyncio
import base64
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from psycopg import sql

from app.logs import configure_logging
from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.patience import PROGRAM_SECONDS
from tests.support.scripted_llm import ScriptedLLM, error, text
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
KEY = "sk-parley-0123456789-abcdefghij"
REFUSED = "a-token-that-is-refused-0123456789"


def needles(*secrets: str) -> list[str]:
    """How secrets may look where they were let out."""
    encoded = (base64.b64encode(secret.encode()).decode()[:-4] for secret in secrets)
    return [*secrets, *(secret[10:] for secret in secrets), *encoded, *(secret.encode().hex() for secret in secrets)]


OLD, NEW = "the old key has more than 32 characters", "the new key has more than 32 characters"
GIVEN = {"provider": "GITHUB", "token": TOKEN}


@pytest.fixture
def log() -> Generator[io.StringIO]:
    """Everything that is logged meanwhile, at the finest level."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def server(data_dir: Path, database_url: str, log: io.StringIO) -> Iterator[RunningServer]:
    """A server with a log."""
    with running_server(
        data_dir,
        database_url=database_url,
        git_providers={ProviderType.GITHUB: FakeGitProvider(found=[repository(1)])},
        log_level="DEBUG",
        log_format="json",
    ) as started:
        configure_logging(started.config, stream=log)
        yield started


def stored(database_url: str, *directories: Path) -> Iterator[tuple[str, str]]:
    """Everything at rest: files with their write-ahead logs, or the rows of all tables of all schemas."""
    for directory in directories:
        for path in directory.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes().decode("latin-1")
    if database_url.startswith("postgresql"):
        with psycopg.connect(database_url) as connection:
            tables = connection.execute(
                "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
            ).fetchall()
            for schema, table in tables:
                rows = connection.execute(
                    sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
                ).fetchall()
                yield f"{schema}.{table}", "\n".join(row[0] for row in rows)


def run(data_dir: Path, database_url: str, secret_key: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the command line, with this key."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    environment |= {
        "PARLEY_DATA_DIR": str(data_dir),
        "PARLEY_DATABASE_URL": database_url,
        "PARLEY_SECRET_KEY": secret_key,
    }
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=False,
    )


async def test_the_key_that_encrypts_is_rotated_as_documented(
    tmp_path: Path, database_url: str, llm: ScriptedLLM
) -> None:
    providers = {ProviderType.GITHUB: FakeGitProvider(found=[repository(1)])}
    with running_server(tmp_path, database_url=database_url, secret_key=OLD, git_providers=providers) as before:
        async with Client(before, "ada") as client:
            await steps.save_settings(client, llm, llmApiKey=KEY)
            await client.execute(documents.SET_TOKEN, input=GIVEN)
    rotated = await asyncio.to_thread(run, tmp_path, database_url, f"{NEW},{OLD}", "database", "rotate-secrets")
    assert (rotated.returncode, rotated.stdout) == (0, "Secrets encrypted with the first key now: 2.\n"), rotated.stderr
    again = await asyncio.to_thread(run, tmp_path, database_url, f"{NEW},{OLD}", "database", "rotate-secrets")
    assert (again.returncode, again.stdout) == (0, "Secrets encrypted with the first key now: 0.\n")
    for needle in needles(KEY, TOKEN):
        assert needle not in rotated.stdout + rotated.stderr
    lost = await asyncio.to_thread(run, tmp_path, database_url, "x" * 32, "database", "rotate-secrets")
    assert lost.returncode == 1
    assert "none of the keys decrypts, to be saved again by their callers: " in lost.stdout
    assert "Traceback" not in lost.stderr
    with running_server(tmp_path, database_url=database_url, secret_key=NEW, git_providers=providers) as after:
        async with Client(after, "ada") as client:
            await client.execute("{ repositories(provider: GITHUB) { nodes { id } } }")
            conversation = await steps.create(client, "Hello")
            await steps.until_waiting(client, conversation["id"])
    assert llm.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    used = providers[ProviderType.GITHUB].accesses[-1].token
    assert used is not None
    assert used.get_secret_value() == TOKEN


async def test_a_key_that_is_lost_costs_its_secrets_and_nothing_else(
    tmp_path: Path, database_url: str, llm: ScriptedLLM
) -> None:
    with running_server(tmp_path, database_url=database_url, secret_key=OLD) as before:
        async with Client(before, "bob") as client:
            await steps.save_settings(client, llm, llmApiKey=KEY)
    with running_server(tmp_path, database_url=database_url, secret_key=NEW) as after:
        async with Client(after, "bob") as client:
            payload = (await client.execute(documents.CREATE, input={"title": "A title"}))["createConversation"]
            assert [fault["__typename"] for fault in payload["userErrors"]] == ["LlmAuthenticationError"]
            await steps.save_settings(client, llm, llmApiKey=KEY)
            await steps.create(client)


async def test_a_key_is_used_and_nowhere_kept(
    server: RunningServer, client: Client, llm: ScriptedLLM, data_dir: Path, database_url: str, log: io.StringIO
) -> None:
    shown: list[object] = [await steps.save_settings(client, llm, llmApiKey=KEY)]
    llm.script(text("Your key is ", KEY[:9], KEY[9:], ", I think."))
    conversation = await steps.create(client, "What is my key?")
    await steps.until_waiting(client, conversation["id"])
    llm.script(error(401, f"Incorrect API key provided: {KEY}.", code="invalid_api_key"))
    await steps.send(client, conversation["id"], "Again")
    shown.append(await steps.until(client, conversation["id"], status="ERROR"))
    shown.append(await client.execute(documents.TRAJECTORY, id=conversation["id"]))
    shown.append(await steps.events(client, conversation["id"]))
    shown.append(await client.execute("{ settings { id llmModel llmBaseUrl llmApiKeySet } }"))
    shown.append(
        (await client.post(documents.UPDATE_SETTINGS, {"input": {"llmApiKey": KEY, "maxIterations": KEY}})).body
    )
    row = await asyncio.to_thread(server.call, server.parley.services.settings.get(client.name))
    secrets = await asyncio.to_thread(server.call, server.parley.services.settings.secrets(client.name))
    assert row is not None
    assert [secret.get_secret_value() for secret in secrets] == [KEY]
    shown += [repr(row), str(row), repr(secrets), repr(server.parley.config), repr(server.parley), row.model_dump()]
    assert llm.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert ("AGENT", "Your key is <secret hidden>, I think.") in await steps.said(client, conversation["id"])
    directories = [data_dir]
    if database_url.startswith("sqlite"):
        directories.append(Path(database_url.removeprefix("sqlite:///")).parent)
    found = list(stored(database_url, *directories))
    assert any("What is my key?" in content for _, content in found)
    for needle in needles(KEY):
        assert [place for place, content in found if needle in content] == []
        assert needle not in json.dumps(shown, default=str)
        assert needle not in log.getvalue()
    assert client.token not in log.getvalue()
    assert '"event": "conversation.created"' in log.getvalue()


async def test_a_token_is_used_and_nowhere_kept(
    server: RunningServer, client: Client, llm: ScriptedLLM, data_dir: Path, database_url: str, log: io.StringIO
) -> None:
    shown: list[object] = [await steps.save_settings(client, llm)]
    shown.append(await client.execute(documents.SET_TOKEN, input=GIVEN))
    shown.append((await client.post(documents.SET_TOKEN, {"input": {**GIVEN, "token": REFUSED}})).body)
    shown.append((await client.post(documents.SET_TOKEN, {"input": {**GIVEN, "host": {"x": TOKEN}}})).body)
    shown.append((await client.post(documents.SET_TOKEN, {"input": {"provider": TOKEN, "token": TOKEN}})).body)
    shown.append(await client.execute("{ repositories(provider: GITHUB) { nodes { id url defaultBranch { id } } } }"))
    shown.append(await client.execute("{ settings { providerAccounts { id provider host login tokenSet } } }"))
    llm.script(text("Your token is ", TOKEN[:9], TOKEN[9:], ", I think."))
    conversation = await steps.create(client, "What is my token?")
    await steps.until_waiting(client, conversation["id"])
    shown.append(await client.execute(documents.TRAJECTORY, id=conversation["id"]))
    shown.append(await steps.events(client, conversation["id"]))
    assert ("AGENT", "Your token is <secret hidden>, I think.") in await steps.said(client, conversation["id"])
    accounts = server.parley.services.provider_account
    [row] = await asyncio.to_thread(server.call, accounts.search(client.name))
    secrets = await asyncio.to_thread(server.call, server.parley.services.settings.secrets(client.name))
    assert TOKEN in [secret.get_secret_value() for secret in secrets]
    shown += [repr(row), str(row), repr(secrets), repr(server.parley), row.model_dump()]
    directories = [data_dir]
    if database_url.startswith("sqlite"):
        directories.append(Path(database_url.removeprefix("sqlite:///")).parent)
    found = list(stored(database_url, *directories))
    assert any("What is my token?" in content for _, content in found)
    for needle in needles(TOKEN, REFUSED):
        assert [place for place, content in found if needle in content] == []
        assert needle not in json.dumps(shown, default=str)
        assert needle not in log.getvalue()
    assert '"event": "provider_account.token_set"' in log.getvalue()
