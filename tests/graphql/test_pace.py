"""Documents that are new, or ask for the schema, leave others half of the event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from graphql import get_introspection_query
from strawberry.types import ExecutionResult

from app.graphql.pace import Pace
from app.graphql.schema import build_schema
from tests.support.patience import WAIT_SECONDS

QUERY = get_introspection_query()


async def most_between_iterations(count: int, work: Callable[[int], Awaitable[None]]) -> int:
    """Begin the work as often at the same moment; how much of it ended at most within one iteration of the loop."""
    ended = 0

    async def one(number: int) -> None:
        nonlocal ended
        await work(number)
        ended += 1

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    seen, most = 0, 0
    async with asyncio.timeout(WAIT_SECONDS):
        while seen < count:
            await asyncio.sleep(0)
            most, seen = max(most, ended - seen), ended
    await asyncio.gather(*tasks)
    return most


async def test_one_piece_of_work_is_done_in_an_iteration_and_a_pause_follows() -> None:
    pace = Pace()

    async def work(_number: int) -> None:
        await pace.wait()
        time.sleep(0.01)  # noqa: ASYNC251  It stands for what holds the loop.

    began = time.perf_counter()
    assert await most_between_iterations(20, work) == 1
    assert time.perf_counter() - began >= 19 * 0.02


async def test_who_gives_up_waiting_leaves_the_turn_to_the_next() -> None:
    pace = Pace()
    tasks = [asyncio.create_task(pace.wait()) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks[:9]:
        task.cancel()
    async with asyncio.timeout(WAIT_SECONDS):
        await tasks[9]
        await pace.wait()


async def test_introspections_at_the_same_moment_leave_room_for_others() -> None:
    schema = build_schema()

    async def introspect(number: int) -> None:
        result = await schema.execute(f"{QUERY}#{number}")
        assert result.errors is None

    assert await most_between_iterations(20, introspect) == 1


async def test_a_schema_is_introspected_once_for_a_document() -> None:
    schema, interpreted = build_schema(), build_schema(is_compiled=False)
    expected = (await interpreted.execute(QUERY)).data
    first, second, third = [await schema.execute(QUERY) for _ in range(3)]
    assert first.data == second.data == third.data == expected
    assert second.data is third.data


@pytest.mark.parametrize(
    "document",
    [
        "query ($name: String!) { __type(name: $name) { name } }",
        "query ($yes: Boolean!) { __schema @include(if: $yes) { queryType { name } } }",
    ],
)
async def test_introspection_with_variables_is_answered_by_them(document: str) -> None:
    schema = build_schema()
    given = [{"name": "Query", "yes": True}, {"name": "Mutation", "yes": False}] * 2
    answers = [(await schema.execute(document, variables)).data for variables in given]
    assert answers[0] == answers[2] != answers[1] == answers[3]


async def test_operations_of_one_document_have_answers_of_their_own() -> None:
    schema = build_schema()
    document = 'query A { __type(name: "Query") { name } } query B { __type(name: "Mutation") { name } }'
    for _ in range(3):
        for operation, name in (("A", "Query"), ("B", "Mutation")):
            result = await schema.execute(document, operation_name=operation)
            assert result.data == {"__type": {"name": name}}


@pytest.mark.parametrize("is_new", [True, False])
async def test_documents_that_are_streamed_leave_room_for_others_too(is_new: bool) -> None:
    schema = build_schema()

    async def introspect(number: int) -> None:
        async for result in await schema.stream(f"{QUERY}#{number if is_new else ''}"):
            assert isinstance(result, ExecutionResult)
            assert result.errors is None

    await introspect(0)
    assert await most_between_iterations(20, introspect) == 1


async def test_a_subscription_that_is_known_waits_for_nothing() -> None:
    schema = build_schema()
    document = "subscription { conversationStatusChanged { occurredAt } }"
    with suppress(AttributeError):
        # Without a caller it is validated, and fails then.
        async for _ in await schema.stream(document):
            pass
    await schema.execute(QUERY)
    waiting = asyncio.create_task(schema.execute(f"{QUERY}#"))
    await asyncio.sleep(0)
    stream = asyncio.create_task(schema.stream(document))
    done, _ = await asyncio.wait({stream, waiting}, return_when=asyncio.FIRST_COMPLETED)
    assert done == {stream}
    await waiting
