"""GraphQL over HTTP, as any HTTP client meets it."""

import json
import socket
from collections.abc import AsyncGenerator, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest

from app.endpoints.graphql.http import NOT_STREAMED
from tests.support import steps
from tests.support.client import NO_TLS, Client
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer, running_server
from tests.support.tokens import hs256_token

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


async def test_a_query_is_answered_as_json(http: httpx.AsyncClient) -> None:
    response = await http.post("/graphql", json={"query": "{ __typename }"})
    assert (response.status_code, response.json()) == (200, {"data": {"__typename": "Query"}})
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"5", "JSON object"),
        (b"[]", "JSON object"),
        (b"null", "JSON object"),
        (b'"{ __typename }"', "JSON object"),
        (b'[{"query": "{ __typename }"}]', "JSON object"),
        (b'{"query": "{ __typename }\xff"}', "not UTF-8"),
        (b'{"query": "{ __typename }", "variables": {"a": NaN}}', "not JSON"),
        (b"[" * 2000 + b"]" * 2000, "not JSON"),
        (b'{"a": ' + b"9" * 4000 + b"}", "no `query`"),
        (b"{}", "no `query`"),
        (b'{"query": null}', "no `query`"),
        (b'{"query": 5}', "no `query`"),
        (b'{"query": ""}', "no `query`"),
        (b'{"query": " \\n "}', "no `query`"),
        (b'{"query": ["{ __typename }"]}', "no `query`"),
        (b'{"query": "{ __typename }", "variables": []}', "`variables`"),
        (b'{"query": "{ __typename }", "variables": "{}"}', "`variables`"),
        (b'{"query": "{ __typename }", "operationName": 5}', "`operationName`"),
        (b'{"query": "{ __typename }", "extensions": 5}', "`extensions`"),
        (b'{"query": "{ __typename }", "extensions": "{}"}', "`extensions`"),
    ],
)
async def test_a_body_that_is_no_request_is_refused(http: httpx.AsyncClient, body: bytes, said: str) -> None:
    response = await http.post("/graphql", content=body)
    assert (response.status_code, said in message_of(response)) == (400, True), response.text


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "application/jsonx",
        "application/json; charset=iso-8859-1",
    ],
)
async def test_another_content_type_is_refused(http: httpx.AsyncClient, content_type: str) -> None:
    response = await http.post(
        "/graphql", content=json.dumps({"query": MUTATION}), headers={"Content-Type": content_type}
    )
    assert (response.status_code, message_of(response)) == (
        415,
        "The Content-Type of a request is application/json, in UTF-8.",
    )


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8"])
async def test_json_is_accepted_however_it_is_written(http: httpx.AsyncClient, content_type: str) -> None:
    response = await http.post(
        "/graphql", content=b'{"query": "{ __typename }"}', headers={"Content-Type": content_type}
    )
    assert response.status_code == 200


async def test_a_body_that_is_too_large_is_refused_by_its_length(http: httpx.AsyncClient) -> None:
    response = await http.post("/graphql", content=b" " * (MAX_BODY_BYTES + 1))
    assert (response.status_code, message_of(response)) == (413, "A request has at most 4096 bytes.")


async def test_a_body_without_a_length_is_refused_once_it_is_too_large(http: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(5):
            yield b" " * 1024

    response = await http.post("/graphql", content=pieces())
    assert "content-length" not in response.request.headers
    assert (response.status_code, message_of(response)) == (413, "A request has at most 4096 bytes.")


async def test_a_body_of_exactly_the_limit_is_accepted(http: httpx.AsyncClient) -> None:
    body = b'{"query": "{ __typename }"}'
    response = await http.post("/graphql", content=body + b" " * (MAX_BODY_BYTES - len(body)))
    assert response.status_code == 200


async def test_a_request_that_is_cut_off_does_no_harm(server: RunningServer, http: httpx.AsyncClient) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(
            b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        )
    assert (await http.post("/graphql", json={"query": "{ __typename }"})).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused_with_the_ones_there_are(http: httpx.AsyncClient, method: str) -> None:
    response = await http.request(method, "/graphql", content=b'{"query": "{ __typename }"}')
    assert (response.status_code, message_of(response)) == (405, "Method Not Allowed.")
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_queries_may_be_sent_by_get(http: httpx.AsyncClient) -> None:
    query = "query Q($id: ID!) { conversation(id: $id) { id } }"
    parameters = {"query": query, "variables": '{"id": "absent"}', "operationName": "Q", "extensions": "{}"}
    response = await http.get("/graphql", params=parameters)
    assert (response.status_code, response.json()) == (200, {"data": {"conversation": None}})
    head = await http.head("/graphql", params=parameters)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "no `query`"),
        ({"query": "{ __typename }", "variables": "{"}, "not JSON"),
        ({"query": "{ __typename }", "variables": "[]"}, "an object"),
        ({"query": "{ __typename }", "extensions": "{"}, "not JSON"),
        ({"query": "{ __typename }", "extensions": "5"}, "an object"),
    ],
)
async def test_a_get_that_is_no_request_is_refused(
    http: httpx.AsyncClient, parameters: dict[str, str], said: str
) -> None:
    response = await http.get("/graphql", params=parameters)
    assert (response.status_code, said in message_of(response)) == (400, True)


async def test_a_mutation_by_get_is_refused_and_changes_nothing(http: httpx.AsyncClient, client: Client) -> None:
    await steps.save_settings(client)
    response = await http.get("/graphql", params={"query": MUTATION})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert message_of(response) == "A mutation can't be sent by GET."
    assert (await client.execute("{ settings { llmModel } }"))["settings"] == {"llmModel": "demo/assistant"}


@pytest.mark.parametrize(
    "document",
    [
        f"mutation A {{ resetSettings {{ deletedSettingsId }} }} {MUTATION.replace('mutation', 'mutation B')}",
        "mutation A { resetSettings { deletedSettingsId } } query B { __typename }",
        "query B { __typename } mutation A { resetSettings { deletedSettingsId } }",
        f"{MUTATION} query B {{ __typename }}",
    ],
)
async def test_one_of_several_operations_is_never_picked_by_chance(
    http: httpx.AsyncClient, client: Client, document: str
) -> None:
    await steps.save_settings(client)
    response = await http.post("/graphql", json={"query": document}, headers={"Accept": GRAPHQL_RESPONSE})
    assert response.status_code == 400
    assert "name the one to run" in message_of(response)
    assert (await client.execute("{ settings { llmModel } }"))["settings"] == {"llmModel": "demo/assistant"}


async def test_the_named_one_of_several_operations_runs(http: httpx.AsyncClient) -> None:
    document = "query A { a: __typename } query B { b: __typename }"
    response = await http.post("/graphql", json={"query": document, "operationName": "B"})
    assert response.json() == {"data": {"b": "Query"}}
    unknown = await http.post("/graphql", json={"query": document, "operationName": "C"})
    assert (unknown.status_code, "no operation of that name" in message_of(unknown)) == (400, True)


async def test_a_subscription_by_plain_post_is_told_where_to_go(http: httpx.AsyncClient) -> None:
    for accept in ("application/json", GRAPHQL_RESPONSE, "*/*", "application/json, multipart/mixed"):
        response = await http.post(
            "/graphql",
            json={"query": "subscription { conversationStatusChanged { occurredAt } }"},
            headers={"Accept": accept},
        )
        assert (response.status_code, message_of(response)) == (
            400,
            NOT_STREAMED,
        )


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml, text/plain", "application/json;q=0", "multipart/mixed", "json"]
)
async def test_what_cannot_be_answered_in_an_acceptable_type_is_not_executed(
    http: httpx.AsyncClient, client: Client, accept: str
) -> None:
    await steps.save_settings(client)
    response = await http.post("/graphql", json={"query": MUTATION}, headers={"Accept": accept})
    assert (response.status_code, response.json()["errors"][0]["extensions"]) == (406, {"code": "NOT_ACCEPTABLE"})
    assert "names none of them" in message_of(response)
    assert await client.execute("{ settings { llmModel } }") == {"settings": {"llmModel": "demo/assistant"}}


@pytest.mark.parametrize(
    ("query", "variables", "said"),
    [
        ("{", {}, "Syntax Error"),
        ("{ nothing }", {}, "Cannot query field 'nothing'"),
        ("query ($id: ID!) { conversation(id: $id) { id } }", {}, "Variable '$id' has invalid value"),
        ("query ($first: Int) { conversations(first: $first) { nodes { id } } }", {"first": "x"}, "Variable '$first'"),
        ("fragment F on Query { __typename }", {}, "no operation"),
    ],
)
async def test_a_faulty_request_is_400_to_clients_of_the_newer_media_type(
    http: httpx.AsyncClient, query: str, variables: JSON, said: str
) -> None:
    request = {"query": query, "variables": variables}
    newer = await http.post("/graphql", json=request, headers={"Accept": GRAPHQL_RESPONSE})
    assert (newer.status_code, said in message_of(newer)) == (400, True), newer.text
    assert newer.headers["content-type"] == f"{GRAPHQL_RESPONSE}; charset=utf-8"
    older = await http.post("/graphql", json=request, headers={"Accept": "application/json"})
    assert older.json() == newer.json()
    assert older.status_code == (400 if said == "no operation" else 200)


async def test_an_error_of_a_field_is_200_and_comes_with_data(http: httpx.AsyncClient) -> None:
    query = "{ __typename a: conversations(first: 0) { nodes { id } } }"
    response = await http.post("/graphql", json={"query": query}, headers={"Accept": GRAPHQL_RESPONSE})
    assert (response.status_code, response.json()["data"]) == (200, None)
    error = response.json()["errors"][0]
    assert (error["path"], error["extensions"]["code"]) == (["a"], "INVALID_INPUT")


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        # What urql sends with queries and mutations.
        (
            f"{GRAPHQL_RESPONSE}, application/graphql+json, application/json, text/event-stream, multipart/mixed",
            GRAPHQL_RESPONSE,
        ),
        ("multipart/mixed;subscriptionSpec=1.0, application/json", "application/json"),
        ("application/json", "application/json"),
        (GRAPHQL_RESPONSE, GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE}, application/json;q=0.9", GRAPHQL_RESPONSE),
        (f"application/json, {GRAPHQL_RESPONSE};q=0.5", "application/json"),
        (f"{GRAPHQL_RESPONSE};q=0, application/json", "application/json"),
        (f"{GRAPHQL_RESPONSE};q=x", GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE};charset=utf-8, application/json;q=0.9, multipart/mixed", GRAPHQL_RESPONSE),
        ("text/event-stream, application/json", "application/json"),
    ],
)
async def test_the_response_is_of_the_type_that_was_asked_for(
    http: httpx.AsyncClient, accept: str, answered: str
) -> None:
    response = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"Accept": accept})
    assert response.headers["content-type"] == f"{answered}; charset=utf-8"


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer", "Bearer not-a-token", "Basic dXNlcjpwYXNz", hs256_token(exp=1), "Bearer caf\u00e9"],
)
async def test_without_a_good_token_nothing_is_executed(server: RunningServer, authorization: str | None) -> None:
    headers = [(b"Authorization", authorization.encode())] if authorization is not None else []
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as session:
        for response in (
            await session.post("/graphql", json={"query": "{ __typename }"}, headers=headers),
            await session.get("/graphql", params={"query": "{ __typename }"}, headers=headers),
        ):
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": f"{ALLOWED_ORIGIN}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    ],
)
async def test_a_foreign_page_is_refused(http: httpx.AsyncClient, headers: dict[str, str], client: Client) -> None:
    await steps.save_settings(client)
    response = await http.post("/graphql", json={"query": MUTATION}, headers=headers)
    assert (response.status_code, response.json()["errors"][0]["extensions"]) == (403, {"code": "FORBIDDEN"})
    assert "access-control-allow-origin" not in response.headers
    assert (await client.execute("{ settings { llmModel } }"))["settings"] == {"llmModel": "demo/assistant"}


@pytest.mark.parametrize("origin", ["own", ALLOWED_ORIGIN])
async def test_the_own_page_and_allowed_ones_may_call(
    server: RunningServer, http: httpx.AsyncClient, origin: str
) -> None:
    given = server.url if origin == "own" else origin
    response = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"Origin": given})
    assert response.status_code == 200
    assert response.headers.get("access-control-allow-origin") == (None if origin == "own" else origin)


async def test_a_link_from_another_site_may_lead_here(http: httpx.AsyncClient) -> None:
    response = await http.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})
    assert response.status_code == 200


async def test_the_preflight_of_an_allowed_page_is_granted(http: httpx.AsyncClient) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    granted = await http.options("/graphql", headers={"Origin": ALLOWED_ORIGIN, **asked})
    assert granted.status_code == 200
    assert granted.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    allowed = {name.strip() for name in granted.headers["access-control-allow-headers"].lower().split(",")}
    assert allowed >= {"authorization", "content-type"}
    refused = await http.options("/graphql", headers={"Origin": "https://evil.example", **asked})
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, False)
