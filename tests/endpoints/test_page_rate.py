"""Pages need no token, so how often an address may ask for them is bounded."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.endpoints.pages import PLAYGROUND, WEB, StaticPage
from tests.support.client import NO_TLS, Client
from tests.support.server import RunningServer, running_server

BURST = 3


@asynccontextmanager
async def stingy(
    factory: pytest.TempPathFactory, trusted_proxies: tuple[str, ...] = ()
) -> AsyncGenerator[tuple[RunningServer, httpx.AsyncClient]]:
    """A server that gives out a page every second, and three at once."""
    settings: dict[str, Any] = {"page_rate_per_second": 1, "page_burst": BURST}
    with running_server(factory.mktemp("data"), trusted_proxies=trusted_proxies, **settings) as server:
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as http:
            yield server, http


@pytest.mark.parametrize(
    "path", ["/", "/app", "/app/", "/playground/assets/none.js", "/app/assets/..%2f..%2fmain.py", "/nothing", "/health"]
)
async def test_an_address_that_asks_for_too_much_is_told_when_to_come_again(
    tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    async with stingy(tmp_path_factory) as (server, http):
        answers = [await http.get(path) for _ in range(20)]
        assert 429 not in [answer.status_code for answer in answers[:BURST]]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["errors"][0]["extensions"] == {"code": "TOO_MANY_REQUESTS", "retryAfter": 1}
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        # Neither health checks nor GraphQL are counted with them.
        assert [(await http.get(f"/health/{name}")).status_code for name in ("live", "ready") * 10] == [200] * 20
        async with Client(server) as client:
            assert (await client.post("{ __typename }")).status == 200


async def test_a_caller_with_a_token_is_counted_as_one_and_not_as_its_address(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with stingy(tmp_path_factory) as (server, http), Client(server) as client:
        assert 429 in [(await http.get("/")).status_code for _ in range(20)]
        good, bad = ({"Authorization": f"Bearer {token}"} for token in (client.token, "a.b.c"))
        assert [(await http.get("/", headers=good)).status_code for _ in range(20)] == [200] * 20
        assert 429 in [(await http.get("/", headers=bad)).status_code for _ in range(20)]


async def test_behind_a_proxy_each_client_has_a_rate_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with stingy(tmp_path_factory, trusted_proxies=("127.0.0.1",)) as (_, http):
        first, second = ({"X-Forwarded-For": address} for address in ("198.51.100.1", "198.51.100.2"))
        assert 429 in [(await http.get("/", headers=first)).status_code for _ in range(20)]
        assert (await http.get("/", headers=second)).status_code == 200


@pytest.mark.parametrize("page", [PLAYGROUND, WEB], ids=["playground", "web"])
async def test_a_page_and_all_its_assets_are_far_below_the_default_rate(
    tmp_path_factory: pytest.TempPathFactory, page: StaticPage
) -> None:
    with running_server(tmp_path_factory.mktemp("data")) as server:
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as http:
            found = await http.get(page.addresses[0])
            assert re.search(r'src="[^"]+/assets/', found.text)
            names = [path.name for path in (page.directory / "assets").iterdir()]
            assert 0 < len(names) <= 30
            for _ in range(3):
                answers = [await http.get(f"{page.assets}/{name}") for name in names]
                assert {answer.status_code for answer in answers} == {200}
