"""A conversation that waits too long with nobody watching is stopped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.server import RunningServer, running_server


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str) -> Iterator[RunningServer]:
    """A server that waits for half a second."""
    with running_server(data_dir, database_url=database_url, idle_close_seconds=0.5) as started:
        yield started


async def test_an_idle_conversation_is_stopped_and_says_why(client: Client) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client)
    stopped = await steps.until(client, conversation["id"], status="STOPPED")
    assert stopped["statusReason"]["code"] == "IDLE_TIMEOUT"
    await steps.send(client, conversation["id"], "Awake")
    await steps.until(client, conversation["id"], status="RUNNING")


async def test_one_that_somebody_watches_goes_on_waiting(client: Client) -> None:
    await steps.save_settings(client)
    watched, unwatched = await steps.create(client), await steps.create(client)
    async with client.subscribe(documents.WATCH_EVENTS, id=watched["id"]):
        await steps.until(client, unwatched["id"], status="STOPPED")
        assert (await steps.get(client, watched["id"]))["status"] == "RUNNING"
    await steps.until(client, watched["id"], status="STOPPED")
