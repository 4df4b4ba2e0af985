"""Large JSON is parsed while others are served, and only a trajectory may have very many entries."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import load_config
from app.endpoints.graphql.json_text import SMALL_BYTES, JSONTexts
from app.json_bounds import TooMuchJSON
from tests.support import documents, steps
from tests.support.client import NO_TLS, Client
from tests.support.server import RunningServer, running_server
from tests.support.wire import init, opened, ready, subscribe

JSON = dict[str, Any]
ITEMS = 2000
TRAJECTORY_ITEMS = 20_000
EVENTS = [
    {
        "sequence": number,
        "run": 1,
        "source": "USER",
        "createdAt": "2026-11-29T06:00:00Z",
        "type": "MessageEvent",
        "text": 'a "text", with [brackets] and {more}' * 5,
    }
    for number in range(1, 1001)
]
TRAJECTORY: JSON = {"version": 1, "events": EVENTS}


@pytest.fixture
def texts(tmp_path: Path) -> JSONTexts:
    """Bounds small enough to be met soon."""
    return JSONTexts(
        load_config(env_file=None, data_dir=tmp_path, max_json_items=ITEMS, max_trajectory_items=TRAJECTORY_ITEMS)
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """What is refused here never gets to a database."""
    with running_server(
        tmp_path_factory.mktemp("data"), max_json_items=ITEMS, max_trajectory_items=TRAJECTORY_ITEMS
    ) as started:
        yield started


def body(**variables: object) -> JSON:
    return {"query": "{ __typename }", "variables": variables}


MANY = list(range(ITEMS + 100))
PADDING = "x" * SMALL_BYTES


@pytest.mark.parametrize(
    "value",
    [
        body(input={"replay": TRAJECTORY}),
        body(replay=TRAJECTORY),
        {"id": "1", "type": "subscribe", "payload": body(input={"replay": TRAJECTORY, "title": None})},
        body(a=PADDING, b=12345678901234567890, c=[1.5, -0.0, 1e300, "é😀", {"": None}]),
        [PADDING, list(range(1500))],
    ],
    ids=["replay of an input", "replay", "message", "numbers", "list"],
)
async def test_a_large_text_becomes_what_a_small_one_would(texts: JSONTexts, value: object) -> None:
    text = json.dumps(value).encode()
    assert len(text) > SMALL_BYTES
    assert await texts.parse(text) == value


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (body(a=MANY, b=PADDING), ITEMS),
        (body(input={"replay": TRAJECTORY, "a": MANY}), ITEMS),
        (body(input={"other": TRAJECTORY}), ITEMS),
        (body(input=[{"replay": TRAJECTORY}]), ITEMS),
        ({**body(), "extensions": {"replay": TRAJECTORY}}, ITEMS),
        ([body(input={"replay": TRAJECTORY})], ITEMS),
        (body(input={"replay": {"version": 1, "events": EVENTS * 4}}), TRAJECTORY_ITEMS),
    ],
    ids=["variable", "beside a trajectory", "other field", "list", "extensions", "batch", "trajectory"],
)
async def test_only_a_trajectory_may_have_many_entries(texts: JSONTexts, value: object, limit: int) -> None:
    with pytest.raises(TooMuchJSON) as refused:
        await texts.parse(json.dumps(value).encode())
    assert (refused.value.code, refused.value.limit) == ("JSON_ITEMS_LIMIT_EXCEEDED", limit)


@pytest.mark.parametrize("end", [b"}", b"", b"]}}}}", b',"a":NaN}', b"}\xff", b"}{"])
async def test_a_large_text_that_is_no_json_is_told_as_that(texts: JSONTexts, end: bytes) -> None:
    text = json.dumps(body(input={"replay": TRAJECTORY})).encode()[:-1] + end
    if end == b"}":
        assert await texts.parse(text)
        return
    with pytest.raises(ValueError, match=r"."):
        await texts.parse(text)


async def test_the_loop_goes_on_while_a_large_text_is_parsed(tmp_path: Path) -> None:
    texts = JSONTexts(load_config(env_file=None, data_dir=tmp_path))
    text = json.dumps(body(input={"replay": {"version": 1, "events": EVENTS * 20}})).encode()
    parsing = asyncio.create_task(texts.parse(text))
    iterations = 0
    while not parsing.done():
        await asyncio.sleep(0.001)
        iterations += 1
    assert len((await parsing)["variables"]["input"]["replay"]["events"]) == 20_000  # pyright: ignore[reportIndexIssue, reportUnknownArgumentType]
    # Parsed in one go, it would be 3 at most: the check, the parser, and the end.
    assert iterations > 10


async def test_large_bodies_and_messages_have_the_same_bounds(server: RunningServer, client: Client) -> None:
    refused, extensions = body(a=MANY, b=PADDING), {"code": "JSON_ITEMS_LIMIT_EXCEEDED", "limit": ITEMS}
    headers = {"Authorization": f"Bearer {client.token}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, verify=NO_TLS) as http:
        answer = await http.post("/graphql", json=refused)
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]) == (400, extensions)
        answer = await http.post("/graphql", json=body(a=PADDING))
        assert answer.json() == {"data": {"__typename": "Query"}}
    async with ready(client) as wire:
        await wire.send(subscribe("1", variables={"a": PADDING}))
        assert (await wire.receive())["payload"] == {"data": {"__typename": "Query"}}
        assert (await wire.receive())["type"] == "complete"
        await wire.send({"id": "2", "type": "subscribe", "payload": refused})
        code, reason = await wire.closed()
        assert code == 4400
        assert reason.startswith(f"JSON has at most {ITEMS} entries")


async def test_a_trajectory_beyond_ordinary_bounds_is_taken(server: RunningServer, client: Client) -> None:
    await steps.save_settings(client)
    text = json.dumps(TRAJECTORY)
    assert text.count(",") > 2 * ITEMS
    created = (await client.execute(documents.CREATE, input={"replay": TRAJECTORY}))["createConversation"]
    assert created["userErrors"] == []
    async with Client(server) as other:
        await steps.save_settings(other)
        async with ready(other) as wire:
            await wire.send(subscribe("1", documents.CREATE, variables={"input": {"replay": TRAJECTORY}}))
            assert (await wire.receive())["payload"]["data"]["createConversation"]["userErrors"] == []


async def test_what_is_too_long_is_told_with_its_limit(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_server(tmp_path_factory.mktemp("data"), max_body_bytes=100_000) as server:
        async with Client(server) as client:
            answer = await client.post(documents.CREATE, {"input": {"replay": TRAJECTORY}})
            extensions = answer.body["errors"][0]["extensions"]
            assert (answer.status, extensions) == (413, {"code": "PAYLOAD_TOO_LARGE", "limit": 100_000})


@pytest.mark.parametrize(
    "payload",
    [{"a": [1] * 1001}, {"a": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]}, {"a": {str(n): n for n in range(1001)}}],
    ids=["items", "depth", "keys"],
)
async def test_before_the_token_a_message_has_little_in_it(
    server: RunningServer, client: Client, payload: JSON
) -> None:
    async with opened(server) as wire:
        message = init(client.token)
        await wire.send({**message, "payload": {**message["payload"], **payload}})
        assert (await wire.closed())[0] == 4400
