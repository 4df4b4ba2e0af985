"""Every error has its code in `extensions`, whatever is at fault and however the request came."""

import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any, cast

import httpx
import pytest

from tests.support import steps
from tests.support.client import NO_TLS, Client
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer, running_server
from tests.support.wire import ready

JSON = dict[str, Any]
GRAPHQL_RESPONSE = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
MULTIPART = "multipart/mixed;subscriptionSpec=1.0"
NODE = "query ($id: ID!) { node(id: $id) { id } }"
# Nothing is registered under it.
DIGEST = "0" * 64
FAULTS: list[tuple[JSON, str]] = [
    ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
    ({"query": '{ a: node(id: "x) { id } }'}, "GRAPHQL_PARSE_FAILED"),
    ({"query": "# nothing"}, "GRAPHQL_PARSE_FAILED"),
    ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{ node { id } }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{ nothing node { nobody } }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{ conversations(first: true) { nodes { id } } }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "query ($a: Nothing) { __typename }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "query ($a: Query) { __typename }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "query ($a: Int = true) { conversations(first: $a) { totalCount } }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "query ($a: Int) { __typename }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{ node(id: $id) { id } }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{ ...F } fragment F on Query { ...F }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{ __typename @nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "fragment F on Query { __typename }"}, "OPERATION_RESOLUTION_FAILURE"),
    ({"query": "type T { a: Int }"}, "OPERATION_RESOLUTION_FAILURE"),
    ({"query": "query A { __typename }", "operationName": "B"}, "OPERATION_RESOLUTION_FAILURE"),
    ({"query": "query A { __typename } query B { __typename }"}, "OPERATION_RESOLUTION_FAILURE"),
    ({"query": NODE}, "INVALID_INPUT"),
    ({"query": NODE, "variables": {"id": None}}, "INVALID_INPUT"),
    ({"query": NODE, "variables": {"id": {"a": 1}}}, "INVALID_INPUT"),
    (
        {"query": "query ($n: Int) { conversations(first: $n) { totalCount } }", "variables": {"n": "many"}},
        "INVALID_INPUT",
    ),
    (
        {
            "query": "query ($f: ConversationFilter) { conversations(filter: $f) { totalCount } }",
            "variables": {"f": {"x": 1, "status": ["y"], "trigger": 5}},
        },
        "INVALID_INPUT",
    ),
    ({"query": "query ($i: [ID!]! = []) { nodes(ids: $i) { id } }", "variables": {"i": None}}, "INVALID_INPUT"),
    (
        {"query": "query ($b: Boolean = true) { __typename @include(if: $b) }", "variables": {"b": None}},
        "INVALID_INPUT",
    ),
    (
        {
            "query": "query ($b: Boolean = true) { conversations { totalCount @skip(if: $b) } }",
            "variables": {"b": None},
        },
        "INVALID_INPUT",
    ),
    ({"query": "{ conversations(first: 0) { nodes { id } } }"}, "INVALID_INPUT"),
    ({"query": "{ " + "a: __typename " * 2000 + "}"}, "TOKENS_LIMIT_EXCEEDED"),
    ({"query": "{ settings { " + " ".join(f"a{n}: id" for n in range(100)) + " } }"}, "ALIASES_LIMIT_EXCEEDED"),
    ({"documentId": DIGEST}, "DOCUMENT_NOT_FOUND"),
    ({"documentId": "../../etc/passwd"}, "BAD_REQUEST"),
    ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": DIGEST}}}, "PERSISTED_QUERY_NOT_FOUND"),
    (
        {"query": "{ __typename }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": DIGEST}}},
        "PERSISTED_QUERY_HASH_MISMATCH",
    ),
    ({"query": "subscription { nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "subscription ($id: ID!) { messageDeltas(conversationId: $id) { text } }"}, "INVALID_INPUT"),
    ({"query": 'subscription { messageDeltas(conversationId: "1") { text } }'}, "NOT_FOUND"),
]
NAMES = [f"{number}-{code}" for number, (_, code) in enumerate(FAULTS)]
QUERIES = [(asked, code) for asked, code in FAULTS if not asked.get("query", "").startswith("subscription")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Errors of requests are the same on every database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data"), persisted_queries=10, max_body_bytes=100_000) as started:
        yield started


@pytest.fixture
async def http(server: RunningServer, client: Client) -> AsyncGenerator[httpx.AsyncClient]:
    """An HTTP client with a valid token and a JSON content type."""
    headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=WAIT_SECONDS, verify=NO_TLS) as session:
        yield session


def codes(body: JSON) -> list[str]:
    """The code of each error, of which there is one at least."""
    assert body["errors"]
    return [error["extensions"]["code"] for error in body["errors"]]


def result(response: httpx.Response) -> JSON:
    """The only result of an answer, whether it is streamed or not."""
    kind = response.headers["content-type"].partition(";")[0]
    if kind == EVENT_STREAM:
        [data] = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
        return cast("JSON", json.loads(data))
    if kind == "multipart/mixed":
        [part] = [line for line in response.text.splitlines() if line.startswith('{"payload"')]
        return cast("JSON", json.loads(part)["payload"])
    return cast("JSON", response.json())


@pytest.mark.parametrize("accept", ["application/json", GRAPHQL_RESPONSE, EVENT_STREAM, MULTIPART])
@pytest.mark.parametrize(
    ("asked", "code"), QUERIES, ids=[f"{number}-{code}" for number, (_, code) in enumerate(QUERIES)]
)
async def test_every_fault_of_a_request_has_its_code_by_post(
    http: httpx.AsyncClient, asked: JSON, code: str, accept: str
) -> None:
    # What was prepared before takes another way, and is told alike.
    for _ in range(2):
        response = await http.post("/graphql", json=asked, headers={"Accept": accept})
        assert set(codes(result(response))) == {code}, response.text


@pytest.mark.parametrize(
    ("asked", "code"), QUERIES, ids=[f"{number}-{code}" for number, (_, code) in enumerate(QUERIES)]
)
async def test_every_fault_of_a_request_has_its_code_by_get(http: httpx.AsyncClient, asked: JSON, code: str) -> None:
    parameters = {name: value if isinstance(value, str) else json.dumps(value) for name, value in asked.items()}
    response = await http.get("/graphql", params=parameters)
    assert set(codes(response.json())) == {code}, response.text


@pytest.mark.parametrize(("asked", "code"), FAULTS, ids=NAMES)
async def test_every_fault_of_an_operation_has_its_code_on_a_socket(client: Client, asked: JSON, code: str) -> None:
    async with ready(client) as wire:
        await wire.send({"id": "1", "type": "subscribe", "payload": asked})
        message = await wire.receive()
        body = message["payload"] if message["type"] == "next" else {"errors": message["payload"]}
        assert set(codes(body)) == {code}, message


@pytest.mark.parametrize("accept", [EVENT_STREAM, MULTIPART])
@pytest.mark.parametrize(("asked", "code"), FAULTS[-3:], ids=NAMES[-3:])
async def test_every_fault_of_a_subscription_has_its_code_on_a_stream(
    http: httpx.AsyncClient, asked: JSON, code: str, accept: str
) -> None:
    response = await http.post("/graphql", json=asked, headers={"Accept": accept})
    assert set(codes(result(response))) == {code}, response.text


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", {}, 400, "BAD_REQUEST"),
        (b"", {}, 400, "BAD_REQUEST"),
        (b"\xff", {}, 400, "BAD_REQUEST"),
        (b"[]", {}, 400, "BAD_REQUEST"),
        (b'[{"query": "{ __typename }"}]', {}, 400, "BAD_REQUEST"),
        (b"{}", {}, 400, "BAD_REQUEST"),
        (b'{"query": " "}', {}, 400, "BAD_REQUEST"),
        (b'{"query": "{ __typename }", "variables": []}', {}, 400, "BAD_REQUEST"),
        (b'{"query": "{ __typename }", "operationName": 1}', {}, 400, "BAD_REQUEST"),
        (b'{"query": "{ __typename }", "extensions": 1}', {}, 400, "BAD_REQUEST"),
        (b'{"query": "subscription { conversationStatusChanged { occurredAt } }"}', {}, 400, "BAD_REQUEST"),
        (b'{"query": "{ __typename }", "variables": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}", {}, 400, "JSON_DEPTH"),
        (b'{"query": "{ __typename }", "variables": {"a": ' + b"9" * 5000 + b"}}", {}, 400, "JSON_NUMBER"),
        (b'{"query": "{ __typename }"}', {"Content-Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b'{"query": "{ __typename }"}', {"Accept": "image/png"}, 406, "NOT_ACCEPTABLE"),
        (b'{"query": "{ __typename }"}', {"Authorization": "Bearer no"}, 401, "UNAUTHENTICATED"),
        (b" " * 100_001, {}, 413, "PAYLOAD_TOO_LARGE"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", GRAPHQL_RESPONSE])
async def test_every_request_that_is_no_operation_has_its_code(
    http: httpx.AsyncClient, content: bytes, headers: JSON, status: int, code: str, accept: str
) -> None:
    response = await http.post("/graphql", content=content, headers={"Accept": accept, **headers})
    assert response.status_code == status, response.text
    assert [found.startswith(code) for found in codes(response.json())] == [True], response.text


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({}, 400, "BAD_REQUEST"),
        ({"query": ""}, 400, "BAD_REQUEST"),
        ({"query": "{ __typename }", "variables": "{"}, 400, "BAD_REQUEST"),
        ({"query": "{ __typename }", "variables": "[]"}, 400, "BAD_REQUEST"),
        ({"query": "mutation { resetSettings { deletedSettingsId } }"}, 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_every_address_that_is_no_query_has_its_code(
    http: httpx.AsyncClient, parameters: JSON, status: int, code: str
) -> None:
    response = await http.get("/graphql", params=parameters)
    assert (response.status_code, codes(response.json())) == (status, [code])


async def test_the_faults_of_a_document_do_not_hide_what_a_resolver_says(client: Client) -> None:
    await steps.save_settings(client)
    answer = await client.post('{ __typename conversation(id: "x") { id } nodes(ids: []) { id } }')
    assert answer.body == {"data": {"__typename": "Query", "conversation": None, "nodes": []}}
