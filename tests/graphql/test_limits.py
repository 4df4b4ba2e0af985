"""Documents that ask for too much are refused at the door, with a code and the number seen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import get_introspection_query, parse

from app.graphql.limits import DEFAULT_LIMITS, Measure
from tests.support import documents
from tests.support.client import Client
from tests.support.paths import ROOT
from tests.support.server import RunningServer, running_server
from tests.support.wire import ready, subscribe

JSON = dict[str, Any]
PAGES = {"conversations": 20, "events": 50}
TOUR = sorted((ROOT / "playground" / "src" / "tour").glob("*.graphql"))
MOST = 10**9


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Documents are the same on every database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data")) as started:
        yield started


def chain(length: int, content: str, *, doubled: bool) -> str:
    """Fragments of which each spreads the next one, once or twice."""
    spread = 2 if doubled else 1
    links = (f"fragment F{i} on Query {{ {f'...F{i + 1} ' * spread} }}" for i in range(length))
    return " ".join(["query { ...F0 }", *links, f"fragment F{length} on Query {{ {content} }}"])


def fields(count: int, text: str = "settings { id }") -> str:
    return "{ " + " ".join(text.replace("#", str(number)) for number in range(count)) + " }"


HOSTILE = {
    "depth": ("{ a " * 21 + "}" * 21, "DEPTH", 21, 20),
    "depth in a fragment": ("{ ...F } fragment F on Query " + "{ a " * 21 + "}" * 21, "DEPTH", 21, 20),
    "aliases": (fields(1, "settings { " + " ".join(f"a{i}: id" for i in range(51)) + " }"), "ALIASES", 51, 50),
    "directives": ("{ settings { " + "id @include(if: true) " * 51 + "} }", "DIRECTIVES", 51, 50),
    "root fields": (fields(21), "ROOT_FIELDS", 21, 20),
    "root fields in fragments": (
        "{ ...F ...F ...F } fragment F on Query " + fields(7),
        "ROOT_FIELDS",
        21,
        20,
    ),
    "tokens": (fields(1, "settings { " + "id " * 2000 + "}"), "TOKENS", 2001, 2000),
    **{
        f"length of {name}": (text, "LENGTH", len(text), 200_000)
        for name, text in {
            "a name": "{ " + "a" * 200_000 + " }",
            "a text": '{ a(b: "' + "\\n" * 100_000 + '") }',
            "a comment": "#" + "a" * 200_000 + "\n{ a }",
            "nothing": "{ a }" + " " * 200_000,
            "what is no document": "\n" * 200_000 + "!",
        }.items()
    },
    "cost": (
        "{ conversations(first: 100) { nodes { events(first: 100) { nodes { id sequence } } } } }",
        "COST",
        1 + 100 * (1 + (1 + 100 * 3)),
        25_000,
    ),
    "a fragment that is spread in itself again and again": (
        chain(60, "__typename", doubled=True),
        "ROOT_FIELDS",
        MOST,
        20,
    ),
    "aliases in doubled fragments": (chain(60, "a: __typename", doubled=True), "ALIASES", MOST, 50),
    "brackets that the parser gives up": ("{ a " * 600 + "}" * 600, "NESTING", 600, 100),
    "a list in lists": ("mutation { updateSettings(input: " + "[" * 500 + "]" * 500 + ") { x } }", "NESTING", 502, 100),
    "a long chain of fragments": (chain(120, "__typename", doubled=False), "NESTING", 121, 100),
}


@pytest.mark.parametrize(("document", "what", "seen", "limit"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_document_with_too_much_is_refused(
    client: Client, document: str, what: str, seen: int, limit: int
) -> None:
    answer = await client.post(document)
    assert "data" not in answer.body
    code = f"{what}_LIMIT_EXCEEDED"
    found = {error["extensions"]["code"]: error for error in answer.body["errors"]}
    assert found[code]["extensions"] == {"code": code, "seen": seen, "limit": limit}
    assert str(seen) in found[code]["message"]


async def test_a_document_may_be_long_and_longer_ones_are_refused_over_a_websocket_too(client: Client) -> None:
    document = "{ __typename }#"
    document += "a" * (200_000 - len(document))
    assert await client.execute(document) == {"__typename": "Query"}
    async with ready(client) as wire:
        await wire.send(subscribe("1", document + "a"))
        answer = await wire.receive()
        assert (answer["type"], answer["payload"][0]["extensions"]) == (
            "error",
            {"code": "LENGTH_LIMIT_EXCEEDED", "seen": 200_001, "limit": 200_000},
        )


async def test_the_cost_goes_by_the_variables(client: Client) -> None:
    document = """
    query ($first: Int = 90) {
      conversations(first: $first) { nodes { events(first: 100) { nodes { id sequence } } } }
    }
    """
    assert (await client.post(document)).body["errors"][0]["extensions"]["seen"] == 1 + 90 * (1 + 1 + 100 * 3)
    assert await client.execute(document, first=2) == {"conversations": {"nodes": []}}
    refused = (await client.post(document, {"first": 100})).body["errors"][0]["extensions"]
    assert (refused["code"], refused["limit"]) == ("COST_LIMIT_EXCEEDED", 25_000)


async def test_each_operation_is_measured_and_the_largest_one_counts(client: Client) -> None:
    document = "query Small { __typename } query Large " + fields(21)
    answer = await client.post(document)
    assert "several operations" in answer.body["errors"][0]["message"]


@pytest.mark.parametrize("number", ["0", "101", "-1", "99999999999999999999"])
async def test_a_page_that_is_out_of_bounds_is_told_by_its_field(client: Client, number: str) -> None:
    answer = await client.post(f"{{ conversations(first: {number}) {{ nodes {{ id }} }} }}")
    assert "COST" not in str(answer.body["errors"])
    assert len(answer.body["errors"]) == 1


async def test_a_circle_of_fragments_is_told_as_such(client: Client) -> None:
    answer = await client.post("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }")
    assert "Cannot spread fragment 'A' within itself" in answer.body["errors"][0]["message"]


async def test_what_is_at_the_limit_is_answered(client: Client) -> None:
    assert list(await client.execute(fields(20))) == ["settings"]
    aliases = "{ settings { " + " ".join(f"a{i}: id" for i in range(50)) + " } }"
    assert await client.execute(aliases) == {"settings": None}


async def test_the_documents_of_real_clients_are_far_below_the_limits() -> None:
    usual = [text for name, text in vars(documents).items() if name.isupper() and "{" in str(text)]
    texts = [text for text in [*usual, *(path.read_text() for path in TOUR)] if text.lstrip()[0] in "{qms"]
    assert len(texts) > 15
    for text in texts:
        measure = Measure(parse(text), PAGES)
        assert measure.errors(DEFAULT_LIMITS, {"first": 100}) == []
        assert measure.cost({"first": 50}) <= DEFAULT_LIMITS.cost / 5
    introspection = get_introspection_query(descriptions=True, specified_by_url=True, input_value_deprecation=True)
    assert Measure(parse(introspection), PAGES).errors(DEFAULT_LIMITS, {}) == []


async def test_the_limits_can_be_set(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", max_document_root_fields=1, max_document_cost=1000) as server:
        async with Client(server) as client:
            refused = await client.post(fields(2))
            assert refused.body["errors"][0]["extensions"]["limit"] == 1


async def test_introspection_is_possible_until_it_is_turned_off(client: Client, tmp_path: Path) -> None:
    assert (await client.execute("{ __schema { queryType { name } } }"))["__schema"]["queryType"] == {"name": "Query"}
    misspelt = (await client.post("{ setings { id } }")).body["errors"][0]["message"]
    assert misspelt == "Cannot query field 'setings' on type 'Query'. Did you mean 'settings'?"


async def test_without_introspection_the_schema_is_not_told_by_suggestions_either(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", introspection=False) as server:
        async with Client(server) as client:
            for document in (
                "{ __schema { queryType { name } } }",
                '{ __type(name: "Query") { name } }',
                "{ ...F } fragment F on Query { a: __schema { queryType { name } } }",
            ):
                answer = await client.post(document)
                assert answer.body == {
                    "errors": [
                        {"message": "Introspection is turned off.", "extensions": {"code": "INTROSPECTION_DISABLED"}}
                    ]
                }
            for document in (
                "{ setings { id } }",
                "{ conversations(frist: 1) { nodes { id } } }",
                "{ conversations(orderBy: {field: CREATED}) { nodes { id } } }",
                "query ($input: UpdateSetingsInput!) { __typename }",
            ):
                answer = await client.post(document)
                assert "Did you mean" not in str(answer.body["errors"])
            assert await client.execute("{ __typename }") == {"__typename": "Query"}
