"""HTTP without bearer tokens: only this machine's own pages and programs may call."""

from collections.abc import AsyncGenerator, Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from app.config import AuthMode
from tests.support import documents
from tests.support.client import NO_TLS
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server as a newcomer runs it."""
    data_dir = tmp_path_factory.mktemp("data")
    with running_server(data_dir, auth=AuthMode.NONE, jwt_secret=None, llm_private_base_urls=None) as started:
        yield started


@pytest.fixture
async def http(server: RunningServer) -> AsyncGenerator[httpx.AsyncClient]:
    """An HTTP client."""
    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_SECONDS, verify=NO_TLS) as session:
        yield session


async def test_the_local_caller_needs_no_token(http: httpx.AsyncClient) -> None:
    change = {"input": {"llmModel": "demo/assistant"}}
    saved = await http.post("/graphql", json={"query": documents.UPDATE_SETTINGS, "variables": change})
    assert saved.json()["data"]["updateSettings"]["settings"]["llmModel"] == "demo/assistant"
    again = await http.post(
        "/graphql", json={"query": "{ settings { llmModel } }"}, headers={"Authorization": "Bearer whatever"}
    )
    assert again.json() == {"data": {"settings": {"llmModel": "demo/assistant"}}}


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "127.9.9.9:1", "[::1]:8000"])
async def test_local_names_are_answered(http: httpx.AsyncClient, host: str) -> None:
    response = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"Host": host})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "0.0.0.0",  # noqa: S104  A name in a header.
        "[::ffff:10.0.0.1]",
        "[",
        "127.0.0.1@evil.example",
        "evil.example@127.0.0.2.example",
    ],
)
@pytest.mark.parametrize("path", ["/graphql", "/", "/health/live"])
async def test_a_name_that_somebody_points_here_is_not(http: httpx.AsyncClient, host: str, path: str) -> None:
    response = await http.get(path, params={"query": "{ __typename }"}, headers={"Host": host})
    assert response.status_code == 421
    assert response.json()["errors"][0]["message"] == "Without bearer tokens the server answers to local names only."
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_foreign_page_is_refused_here_too(server: RunningServer, http: httpx.AsyncClient) -> None:
    refused = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"Origin": "http://evil.example"})
    assert refused.status_code == 403
    port = urlsplit(server.url).port
    for name, origin in (("evil.example", None), ("127.0.0.1", Origin("http://evil.example"))):
        with pytest.raises(InvalidStatus) as socket:
            await connect(
                f"ws://{name}:{port}/graphql",
                host="127.0.0.1",
                port=port,
                subprotocols=[Subprotocol("graphql-transport-ws")],
                origin=origin,
            )
        assert socket.value.response.status_code == 403


async def test_a_page_of_another_port_is_another_origin(http: httpx.AsyncClient) -> None:
    response = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"Origin": "http://127.0.0.1:1"})
    assert response.status_code == 403
