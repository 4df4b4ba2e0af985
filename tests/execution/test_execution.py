"""Compiled execution answers as graphql-core does, whatever the data and the operation."""

import asyncio
import gc
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.types import ExecutionContext

from app.execution.cache import ByteCache
from app.execution.executor import CompiledExecutor, compiled_executor
from app.execution.shape import Access, Shape
from tests.execution.differences import Tally, fuzz

CASES = 160
# The comparison is made once, before the first test that asks for it.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def tally() -> Tally:
    return fuzz(CASES, seed_=5)


def test_it_answers_as_graphql_core_does(tally: Tally) -> None:
    assert not tally.differences, "\n".join(tally.differences[:3])


def test_what_is_compared_is_compiled_and_goes_wrong_often_enough(tally: Tally) -> None:
    executions = tally.counts["executions"]
    assert tally.counts["operations"] > CASES / 2
    assert tally.counts["not compiled"] < executions / 2
    assert executions / 20 < tally.counts["left to graphql-core"] < executions
    assert tally.counts["with errors"] > executions / 20


@strawberry.type
class Item:
    name: str


@strawberry.type
class Query:
    @strawberry.field
    async def item(self, info: strawberry.Info[list[str], None]) -> Item | None:
        info.context.append("item")
        await asyncio.sleep(0)
        return Item(name=None)  # pyright: ignore[reportArgumentType]  The fault that is tested.

    @strawberry.field
    async def good(self, info: strawberry.Info[list[str], None], name: str = "a") -> Item | None:
        info.context.append("good")
        return Item(name=name)


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def fail(self, info: strawberry.Info[list[str], None]) -> str | None:
        info.context.append("fail")
        raise ValueError("no")

    @strawberry.mutation
    async def count(self, info: strawberry.Info[list[str], None]) -> int:
        info.context.append("count")
        return len(info.context)


class Schema(strawberry.Schema):
    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Leave them as they are."""


def build(executor: type[CompiledExecutor]) -> Schema:
    return Schema(Query, Mutation, execution_context_class=executor, extensions=[ParserCache, ValidationCache])


async def ask(schema: Schema, text: str, **variables: Any) -> tuple[Any, list[str], list[str]]:
    calls: list[str] = []
    result = await schema.execute(text, variables, context_value=calls)
    return result.data, [error.message for error in result.errors or ()], calls


async def test_no_resolver_runs_twice_when_graphql_core_takes_over() -> None:
    schema = build(compiled_executor(1_000_000))
    for _ in range(3):
        data, errors, calls = await ask(schema, "{ good { name } item { name } }")
        assert data == {"good": {"name": "a"}, "item": None}
        assert errors == ["Cannot return null for non-nullable field Item.name."]
        assert sorted(calls) == ["good", "item"]


@pytest.mark.parametrize("turns", range(4))
async def test_an_execution_that_is_cancelled_leaves_no_resolver_that_never_began(
    turns: int, recwarn: pytest.WarningsRecorder
) -> None:
    schema = build(compiled_executor(1_000_000))
    text = "{ a: good { name } b: good { name } c: good { name } }"
    for _ in range(3):
        await ask(schema, text)
    asking = asyncio.create_task(ask(schema, text))
    for _ in range(turns):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    # Python warns of a coroutine that nothing awaited once that is collected.
    del asking
    gc.collect()
    assert [str(each.message) for each in recwarn] == []


async def test_mutations_run_one_after_another_and_once_each_also_behind_one_that_fails() -> None:
    schema = build(compiled_executor(1_000_000))
    for _ in range(3):
        data, errors, calls = await ask(schema, "mutation { a: count fail b: count }")
        assert data == {"a": 1, "fail": None, "b": 3}
        assert errors == ["no"]
        assert calls == ["count", "fail", "count"]


async def test_an_operation_is_compiled_when_it_comes_again_and_once_for_each_value_of_its_directives() -> None:
    interpreted: list[bool | None] = []

    class NotingExecutor(compiled_executor(1_000_000)):
        def _interpret(self, serially: bool | None) -> Any:
            interpreted.append(serially)
            return super()._interpret(serially)

    schema = build(NotingExecutor)
    text = "query ($is: Boolean!) { good { name @include(if: $is) __typename } }"
    seen: list[int] = []
    for value in (True, True, False, True, False):
        data, _, _ = await ask(schema, text, **{"is": value})
        assert data == {"good": {"name": "a", "__typename": "Item"} if value else {"__typename": "Item"}}
        seen.append(len(interpreted))
    assert seen == [1, 1, 1, 1, 1]


async def test_plans_take_no_more_bytes_than_they_may() -> None:
    executor = compiled_executor(40_000)
    schema = build(executor)
    for number in range(60):
        for _ in range(2):
            data, _, _ = await ask(schema, f'{{ x{number}: good(name: "{number}") {{ name }} }}')
            assert data == {f"x{number}": {"name": str(number)}}
    kept = executor.plans.kept
    assert 0 < kept.size_bytes <= 40_000
    assert len(kept) < 60


def test_a_cache_forgets_what_was_used_longest_ago_and_takes_nothing_too_large() -> None:
    cache = ByteCache[str, int](100)
    for number, key in enumerate("abcdefgh"):
        cache.put(key, number, 12)
    assert cache.get("a") == 0
    cache.put("i", 8, 12)
    assert cache.get("b") is None
    assert cache.get("a") == 0
    cache.put("large", 9, 13)
    assert cache.get("large") is None
    assert cache.size_bytes <= 100


async def test_a_class_that_comes_to_stand_in_for_a_type_later_is_read_by_its_shape_too() -> None:
    @strawberry.type
    class Thing:
        name: str

    given: list[type[Thing]] = [Thing]

    @strawberry.type
    class Things:
        @strawberry.field
        async def thing(self) -> Thing:
            return given[0](name="as an attribute")

    schema = Schema(Things, execution_context_class=compiled_executor(10**6), extensions=[ParserCache, ValidationCache])

    async def name() -> str:
        return (await ask(schema, "{ thing { name } }"))[0]["thing"]["name"]

    assert [await name() for _ in range(3)] == ["as an attribute"] * 3

    class StandIn(Thing):
        __graphql_shape__ = Shape({"name": Access("'by the shape'", is_leaf=True)})

    given[0] = StandIn
    assert [await name() for _ in range(3)] == ["as an attribute", "by the shape", "by the shape"]
