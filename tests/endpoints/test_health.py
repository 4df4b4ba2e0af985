"""Readiness is asked of the parts themselves: break one, and it shows."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.endpoints.health import Ready
from tests.support.client import NO_TLS
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer, running_server

OK = (200, {"status": "ok", "checks": {"database": "ok", "engine": "ok"}})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server that a test may break."""
    with running_server(tmp_path) as started:
        yield started


async def ready(server: RunningServer) -> tuple[int, object]:
    """Status and body of the readiness, which needs no token; the server lives in any case."""
    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_SECONDS, verify=NO_TLS) as session:
        response = await session.get("/health/ready")
        live = await session.get("/health/live")
        assert (live.status_code, live.json()) == (200, {"status": "ok"})
    return response.status_code, response.json()


async def test_a_stopped_engine_is_not_ready(server: RunningServer) -> None:
    assert await ready(server) == OK
    await asyncio.to_thread(server.call, server.parley.engine.close())
    assert await ready(server) == (503, {"status": "failed", "checks": {"database": "ok", "engine": "failed"}})


async def test_a_database_file_that_is_gone_is_not_ready(server: RunningServer, tmp_path: Path) -> None:
    assert await ready(server) == OK
    await asyncio.to_thread(server.call, server.parley.database.close())
    file, kept = tmp_path / "parley.db", tmp_path / "kept"
    file.rename(kept)
    file.mkdir()
    assert await ready(server) == (503, {"status": "failed", "checks": {"database": "failed", "engine": "ok"}})
    file.rmdir()
    kept.rename(file)
    assert await ready(server) == OK


async def test_a_part_that_does_not_answer_is_not_ready() -> None:
    async def silent() -> None:
        await asyncio.Event().wait()

    async def broken() -> None:
        raise RuntimeError("a secret detail")

    async def works() -> None:
        return

    checks = Ready({"a": silent, "b": broken, "c": works}, timeout_seconds=0.01)
    assert await checks.ask() == {"a": False, "b": False, "c": True}
