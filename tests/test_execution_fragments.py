"""Items of lists are kept as JSON for those who only encode the result, and shown again where their keys are equal."""

from collections.abc import Sequence
from typing import Any

import orjson
import strawberry
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.scalars import JSON

from app.endpoints.encoding import encode
from app.execution.executor import compiled_executor
from app.execution.fragment import OWN_BYTES, plain
from app.execution.shape import Access, Items, Shape
from tests.client import Client
from tests.steps import create, save_settings

TEXT = "{ list { items { name size } } }"


@strawberry.type
class Item:
    name: str
    size: JSON

    @strawberry.field
    def loud(self) -> str:
        return self.name.upper()


@strawberry.type
class List:
    items: list[Item]


class Shop:
    """Notes of which keys it made items."""

    def __init__(self, *keys: tuple[str, Any]) -> None:
        self.keys = list(keys)
        self.made: list[str] = []

    def make(self, keys: Sequence[tuple[str, Any]]) -> list[Any]:
        self.made += [name for name, _ in keys]
        return list(keys)


def _item_of(key: tuple[str, Any]) -> Item:
    return Item(name=key[0], size=key[1])


class ListOfShop(List):
    __graphql_shape__ = Shape(
        {
            "items": Access(
                "Items(list({s}.shop.keys), {s}.shop.make)",
                shape=Shape(
                    {"name": Access("{s}[0]", is_leaf=True), "size": Access("{s}[1]", is_leaf=True)},
                    {"item_of": _item_of},
                    "item_of({s})",
                ),
                are_items=True,
            )
        },
        {"Items": Items},
    )

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    @property
    def items(self) -> list[Item]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return [Item(name=name, size=size) for name, size in self.shop.keys]


@strawberry.type
class Query:
    @strawberry.field
    def list(self, info: strawberry.Info[Shop, None]) -> List:
        return ListOfShop(info.context)


def build(fragments_bytes: int = 10**6, *, takes_fragments: bool = True) -> strawberry.Schema:
    executor = type("Executor", (compiled_executor(10**6, fragments_bytes),), {"takes_fragments": takes_fragments})
    return strawberry.Schema(Query, execution_context_class=executor, extensions=[ParserCache, ValidationCache])


async def items(schema: strawberry.Schema, shop: Shop, text: str = TEXT) -> list[Any]:
    result = await schema.execute(text, context_value=shop)
    assert result.errors is None
    assert result.data is not None
    return result.data["list"]["items"]


def value(item: object) -> object:
    return plain(item) if isinstance(item, orjson.Fragment) else item


async def shown(schema: strawberry.Schema, shop: Shop, text: str = TEXT) -> list[object]:
    return [value(item) for item in await items(schema, shop, text)]


async def test_what_has_been_shown_is_not_made_again_and_what_has_changed_is() -> None:
    schema, shop = build(), Shop(("a", 1), ("b", 2))
    expected = [{"name": "a", "size": 1}, {"name": "b", "size": 2}]
    # The first time an operation is not compiled, and the second time nothing is kept of it.
    assert [await shown(schema, shop) for _ in range(4)] == [expected] * 4
    assert shop.made == ["a", "b"]
    shop.keys[0] = ("a", 3)
    assert await shown(schema, shop) == [{"name": "a", "size": 3}, expected[1]]
    assert shop.made == ["a", "b", "a"]


async def test_the_same_keys_of_another_maker_and_in_another_operation_are_shown_as_those_say() -> None:
    schema, shop, other = build(), Shop(("a", 1)), Shop(("a", 1))
    for _ in range(3):
        assert await shown(schema, shop) == await shown(schema, other) == [{"name": "a", "size": 1}]
        assert await shown(schema, shop, "{ list { items { size x: name } } }") == [{"size": 1, "x": "a"}]
    assert (shop.made, other.made) == (["a", "a"], ["a"])


async def test_who_does_not_take_fragments_gets_none() -> None:
    schema, shop = build(takes_fragments=False), Shop(("a", 1))
    for _ in range(3):
        assert await items(schema, shop) == [{"name": "a", "size": 1}]
    assert shop.made == ["a", "a"]


async def test_nothing_is_kept_where_a_resolver_is_called_below() -> None:
    schema, shop = build(), Shop(("a", 1))
    for _ in range(3):
        assert await items(schema, shop, "{ list { items { loud } } }") == [{"loud": "A"}]


async def test_what_only_the_standard_library_writes_is_not_kept_and_encoded_beside_what_is() -> None:
    schema, shop = build(), Shop(("a", 10**30), ("b", 2))
    for _ in range(4):
        found = await items(schema, shop)
        assert orjson.loads(encode({"data": found}).replace(b"1" + b"0" * 30, b'"large"')) == {
            "data": [{"name": "a", "size": "large"}, {"name": "b", "size": 2}]
        }
    assert shop.made == ["a", "b", "a", "a"]


async def test_all_is_forgotten_when_it_takes_more_bytes_than_it_may() -> None:
    schema = build(150 * OWN_BYTES)
    shops = [Shop(*((f"{number}-{place}", place) for place in range(100))) for number in range(2)]
    for shop in [*shops, *shops, shops[1], shops[1], shops[0]]:
        assert len(await shown(schema, shop)) == 100
    # Each has room, but not both.
    assert [len(shop.made) for shop in shops] == [200, 200]


async def test_a_large_item_is_not_kept() -> None:
    schema, shop = build(1000 * OWN_BYTES), Shop(("a", "large" * 2000), ("b", 2))
    for _ in range(4):
        assert len(await shown(schema, shop)) == 2
    assert shop.made == ["a", "b", "a", "a"]


async def test_a_page_that_was_shown_before_shows_what_has_changed(client: Client) -> None:
    await save_settings(client)
    key = (await create(client, title="Before"))["id"]
    page = "{ conversations(first: 5) { edges { cursor node { id title } } nodes { title } } }"
    before = [await client.execute(page) for _ in range(4)]
    assert before[0] == before[1] == before[2] == before[3]
    assert before[0]["conversations"]["nodes"] == [{"title": "Before"}]
    rename = 'mutation ($id: ID!) { renameConversation(input: {id: $id, title: "After"}) { conversation { id } } }'
    await client.execute(rename, id=key)
    after = await client.execute(page)
    assert after["conversations"]["nodes"] == [{"title": "After"}]
    assert after["conversations"]["edges"][0]["node"] == {"id": key, "title": "After"}
