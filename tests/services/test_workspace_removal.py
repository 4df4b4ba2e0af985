"""How long it is remembered that a workspace has to be removed, and that it is removed at the next start."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]


async def delete_with_workspace(server: RunningServer, *, is_removable: bool) -> Path:
    """A deleted conversation's workspace, with a link in its place where it is not to be removable."""
    async with Client(server) as client:
        await steps.save_settings(client)
        conversation = await steps.create(client)
        await steps.until_waiting(client, conversation["id"])
        workspace = server.config.data_dir / "workspaces" / conversation["id"]
        if not is_removable:
            workspace.rmdir()
            workspace.symlink_to(server.config.data_dir)
        await client.execute(documents.DELETE, input={"id": conversation["id"]})
    return workspace


def recorded(database: sqlite3.Connection | psycopg.Connection) -> int:
    """How many removals the database knows."""
    [count] = database.execute("SELECT count(*) FROM workspaceremoval").fetchone() or (-1,)
    return int(count)


async def test_a_removal_that_failed_is_done_at_the_next_start_and_then_forgotten(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        workspace = await delete_with_workspace(server, is_removable=False)
        database = sqlite3.connect(server.config.data_dir / "parley.db")
        assert workspace.is_symlink()
        assert recorded(database) == 1
    workspace.unlink()
    workspace.mkdir()
    (workspace / "file.txt").write_text("left")
    with running_server(tmp_path) as server:
        # The round at the start may have been first.
        server.call(server.parley.workspace.retry_removals(at_once=True))
        assert not workspace.exists()
        assert recorded(database) == 0
        database.close()


async def test_on_postgresql_a_removal_is_remembered_for_instances_that_are_away(
    tmp_path: Path, postgres_url: str
) -> None:
    moment = datetime.now(UTC)
    with (
        running_server(tmp_path, database_url=postgres_url, clock=lambda: moment) as server,
        psycopg.connect(postgres_url, autocommit=True) as database,
    ):
        removed = await delete_with_workspace(server, is_removable=True)
        stuck = await delete_with_workspace(server, is_removable=False)
        assert (removed.exists(), stuck.is_symlink(), recorded(database)) == (False, True, 2)
        moment += timedelta(days=89)
        server.call(server.parley.workspace.retry_removals())
        assert recorded(database) == 2
        moment += timedelta(days=2)
        server.call(server.parley.workspace.retry_removals())
        # That of the one that still fails here stays, and counts its attempts.
        assert recorded(database) == 1
        stuck.unlink()
        stuck.mkdir()
        server.call(server.parley.workspace.retry_removals())
        assert stuck.exists(), "it was tried again before its time"
        moment += timedelta(hours=1)
        server.call(server.parley.workspace.retry_removals())
        assert not stuck.exists()
        moment += timedelta(days=91)
        server.call(server.parley.workspace.retry_removals())
        assert recorded(database) == 0
