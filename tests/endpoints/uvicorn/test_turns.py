"""The loop is shared: whatever many send at once, others have their turn in between."""

import asyncio
from collections import Counter

import pytest

from app.endpoints.uvicorn.turns import Priority, Turns
from tests.support.iterations import Iterations
from tests.support.patience import WAIT_SECONDS


@pytest.mark.parametrize(("size", "at_most"), [(100, 40), (64 * 1024, 6), (1024 * 1024, 4)])
async def test_a_thousand_pieces_that_come_at_once_are_spread_over_iterations(size: int, at_most: int) -> None:
    turns, iterations = Turns(), Iterations()
    done: list[int] = []
    for _ in range(1000):
        turns.take(Priority.LARGE, size, lambda: done.append(iterations.number))
    while len(done) < 1000:  # noqa: ASYNC110  Nothing tells of it.
        await asyncio.sleep(0)
    await iterations.end()
    assert max(Counter(done).values()) <= at_most


async def test_what_takes_long_ends_a_turn() -> None:
    turns, iterations = Turns(), Iterations()
    done: list[int] = []

    def work() -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.01
        while loop.time() < until:
            pass
        done.append(iterations.number)

    for _ in range(10):
        turns.take(Priority.SMALL, 1, work)
    while len(done) < 10:  # noqa: ASYNC110  Nothing tells of it.
        await asyncio.sleep(0)
    await iterations.end()
    assert max(Counter(done).values()) <= 2


async def test_a_caller_comes_before_all_who_wait_and_nobody_waits_for_ever() -> None:
    turns = Turns()
    order: list[str] = []
    for kind in (Priority.LARGE, Priority.SMALL):
        for _ in range(500):
            turns.take(kind, 1000, lambda kind=kind: order.append(kind.name))
    begun = len(order)
    turns.take(Priority.CALLER, 1000, lambda: order.append("CALLER"))
    while len(order) < 1001:  # noqa: ASYNC110  Nothing tells of it.
        await asyncio.sleep(0)
    # One of each comes in the next turn, whoever else waits.
    assert order.index("CALLER") <= begun + 2
    small = [number for number, kind in enumerate(order) if kind == "SMALL"]
    assert "LARGE" in order[small[0] : small[-1]]


async def test_what_has_room_is_done_at_once() -> None:
    turns = Turns()
    done: list[int] = []
    assert turns.take(Priority.SMALL, 100, lambda: done.append(1))
    assert done == [1]


async def test_a_piece_of_work_that_fails_keeps_nobody_from_his_turn() -> None:
    turns = Turns()
    done: list[int] = []
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    failure = RuntimeError("work failed")

    def fail() -> None:
        raise failure

    for _ in range(40):
        turns.take(Priority.SMALL, 1, lambda: done.append(1))
    turns.take(Priority.SMALL, 1, fail)
    for _ in range(40):
        turns.take(Priority.SMALL, 1, lambda: done.append(1))
    async with asyncio.timeout(WAIT_SECONDS):
        while len(done) < 80:  # noqa: ASYNC110  Nothing tells of it.
            await asyncio.sleep(0)
    assert told == [failure]
