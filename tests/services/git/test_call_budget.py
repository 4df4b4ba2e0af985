"""What one request may ask of git providers: so many calls, and so many of them at once."""

import asyncio

import pytest

from app.errors import InvalidInput
from app.services.git.call_budget import MAX_CONCURRENT, CallBudget
from tests.support.patience import WAIT_SECONDS


async def test_only_so_many_calls_are_made_at_once() -> None:
    budget, gate, begun = CallBudget(20), asyncio.Event(), asyncio.Semaphore(0)
    inside: list[int] = []

    async def ask(number: int) -> None:
        async with budget.call():
            inside.append(number)
            begun.release()
            await gate.wait()

    async with asyncio.timeout(WAIT_SECONDS), asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(ask(number))
        for _ in range(MAX_CONCURRENT):
            await begun.acquire()
        # Every task has had its turn by now, more than once.
        for _ in range(10):
            await asyncio.sleep(0)
        assert inside == list(range(8))
        gate.set()
    assert inside == list(range(20))


async def test_a_call_too_many_is_refused_and_one_that_failed_counts() -> None:
    budget = CallBudget(2)
    with pytest.raises(RuntimeError):
        async with budget.call():
            raise RuntimeError
    async with budget.call():
        pass
    with pytest.raises(InvalidInput, match="One request may cause 2 calls to git providers"):
        async with budget.call():
            pass
