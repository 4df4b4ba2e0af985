"""Rotating the key of a database that is in use: what a caller saves meanwhile stays."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from app.models.provider_account import ProviderType
from app.services.secrets.box import SecretBox
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer, running_server

OLD, NEW = "the old key has more than 32 characters", "the new key has more than 32 characters"
SAVED = "sk-saved-in-the-meantime-0123456789"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def until_somebody_waits(url: str) -> None:
    """Return once a statement of the database waits for a lock."""
    async with asyncio.timeout(WAIT_SECONDS), await psycopg.AsyncConnection.connect(url, autocommit=True) as watcher:
        while await (await watcher.execute(WAITING)).fetchall() == [(0,)]:  # noqa: ASYNC110  PostgreSQL has no event.
            await asyncio.sleep(0.02)


def rotate(server: RunningServer) -> tuple[int, int]:
    """What ``database rotate-secrets`` does."""
    return server.call(server.parley.services.settings.rotate_secrets())


@pytest.mark.parametrize(
    ("table", "column", "context"),
    [
        ("settings", "llm_api_key_encrypted", "settings:ada:llm_api_key"),
        ("provideraccount", "token_encrypted", "provider_account:ada:GITHUB:token"),
    ],
)
async def test_a_secret_that_is_saved_during_the_rotation_stays(
    tmp_path: Path, postgres_url: str, llm: ScriptedLLM, table: str, column: str, context: str
) -> None:
    providers = {ProviderType.GITHUB: FakeGitProvider()}
    with running_server(tmp_path, database_url=postgres_url, secret_key=OLD, git_providers=providers) as before:
        async with Client(before, "ada") as client:
            await steps.save_settings(client, llm)
            await client.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": TOKEN})
    sealed = SecretBox([SecretStr(OLD)]).encrypt(SecretStr(SAVED), context=context)
    with running_server(tmp_path, database_url=postgres_url, secret_key=f"{NEW},{OLD}") as server:
        async with await psycopg.AsyncConnection.connect(postgres_url) as other:
            names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
            await other.execute(sql.SQL("UPDATE {table} SET {column} = %s").format(**names), [sealed])
            rotation = asyncio.create_task(asyncio.to_thread(rotate, server))
            await until_somebody_waits(postgres_url)
            await other.commit()
            assert await rotation == (2, 0)
            found = await (await other.execute(sql.SQL("SELECT {column} FROM {table}").format(**names))).fetchall()
    [token] = [str(row[0]) for row in found]
    assert SecretBox([SecretStr(NEW)]).decrypt(token, context=context).get_secret_value() == SAVED
