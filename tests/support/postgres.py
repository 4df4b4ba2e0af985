"""A real PostgreSQL for the tests."""

from collections.abc import Iterator

import pytest

from benchmarks.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of this process, started when the first of them asks."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database for one test."""
    with postgres_server.database() as url:
        yield url
