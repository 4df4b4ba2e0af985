"""What every response has, what is not there, and the playground."""

import re
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, cast

import httpx
import pytest
from graphql import build_client_schema, get_introspection_query
from graphql import build_schema as build_schema_of_sdl

from app.graphql.schema import build_schema
from tests.support import steps
from tests.support.client import NO_TLS, Client
from tests.support.paths import ROOT
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
GRAPHQL_RESPONSE = "application/graphql-response+json"
MAX_BODY_BYTES = 4096
ALLOWED_ORIGIN = "https://app.example.com"
MUTATION = "mutation { resetSettings { deletedSettingsId } }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """HTTP is the same on every database, so one will do."""
    data_dir = tmp_path_factory.mktemp("data")
    with running_server(data_dir, max_body_bytes=MAX_BODY_BYTES, allowed_origins=ALLOWED_ORIGIN) as started:
        yield started


@pytest.fixture
async def http(server: RunningServer, client: Client) -> AsyncGenerator[httpx.AsyncClient]:
    """An HTTP client with a valid token and a JSON content type."""
    headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=WAIT_SECONDS, verify=NO_TLS) as session:
        yield session


def message_of(response: httpx.Response) -> str:
    """The message of the only error, from a body that is nothing but that error."""
    body = response.json()
    assert list(body) == ["errors"]
    assert len(body["errors"]) == 1
    return cast("str", body["errors"][0]["message"])


REQUESTS: dict[str, Callable[[httpx.AsyncClient], Any]] = {
    "query": lambda http: http.post("/graphql", json={"query": "{ __typename }"}),
    "refused": lambda http: http.post("/graphql", content=b"5"),
    "no token": lambda http: http.post("/graphql", json={"query": "{ a }"}, headers={"Authorization": "x"}),
    "foreign": lambda http: http.post("/graphql", headers={"Origin": "https://evil.example"}),
    "too large": lambda http: http.post("/graphql", content=b" " * 5000),
    "method": lambda http: http.put("/graphql"),
    "page": lambda http: http.get("/"),
    "absent": lambda http: http.get("/nothing/here"),
    "absent asset": lambda http: http.get("/playground/nothing.js"),
    "outside": lambda http: http.get("/playground/..%2f..%2f__main__.py"),
    "live": lambda http: http.get("/health/live"),
    "ready": lambda http: http.get("/health/ready"),
    "preflight": lambda http: http.options(
        "/graphql", headers={"Origin": ALLOWED_ORIGIN, "Access-Control-Request-Method": "POST"}
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_response_has_the_security_headers(http: httpx.AsyncClient, name: str) -> None:
    response = await REQUESTS[name](http)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["cross-origin-opener-policy"] == "same-origin"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/playground/nothing.js",
        "/playground/..%2f..%2f__main__.py",
        "/playground/%00",
        "/playground/",
        "/graphql/",
        "/playground/" + "a" * 2000,
    ],
)
async def test_what_is_not_there_is_said_in_json(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert (response.status_code, message_of(response)) == (404, "Not Found.")
    assert response.json()["errors"][0]["extensions"] == {"code": "NOT_FOUND"}


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready"])
async def test_head_is_answered_without_a_body(http: httpx.AsyncClient, path: str) -> None:
    response = await http.head(path)
    assert (response.status_code, response.content) == (200, b"")


async def test_introspection_tells_the_whole_schema(http: httpx.AsyncClient) -> None:
    query = get_introspection_query(descriptions=True, specified_by_url=True, input_value_deprecation=True)
    response = await http.post("/graphql", json={"query": query})
    told = build_client_schema(response.json()["data"])
    assert set(told.type_map) == set(build_schema_of_sdl(build_schema().as_str()).type_map)


async def test_the_playground_is_whole_and_needs_no_other_host(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "connect-src 'self';" in policy
    assert "http" not in policy
    assets: list[str] = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert len(assets) >= 3
    for path in assets:
        assert "//" not in path
        asset = await http.get(path)
        assert asset.status_code == 200, path
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    script = next(path for path in assets if path.endswith(".js"))
    assert (await http.get(script)).headers["content-type"].startswith("text/javascript")


async def test_everything_that_the_playground_ships_is_served(http: httpx.AsyncClient) -> None:
    folder = ROOT / "app" / "static" / "playground" / "assets"
    for asset in folder.iterdir():
        response = await http.head(f"/playground/assets/{asset.name}")
        assert (response.status_code, response.headers["content-length"]) == (200, str(asset.stat().st_size))


async def test_the_answer_may_hold_any_text(http: httpx.AsyncClient, client: Client) -> None:
    await steps.save_settings(client)
    title = 'ü "\\ 🙂 </script>'
    created = await steps.create(client, None, title=title)
    response = await http.post("/graphql", json={"query": "{ conversations { nodes { id title } } }"})
    assert response.json()["data"]["conversations"]["nodes"] == [{"id": created["id"], "title": title}]
