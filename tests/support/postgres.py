"""Fixtures of a real PostgreSQL server."""

from collections.abc import Iterator

import pytest

from benchmarks.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Run one server for all tests of this process, started by the first test that needs it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Create an empty database for one test, and return its URL."""
    with postgres_server.database() as url:
        yield url
