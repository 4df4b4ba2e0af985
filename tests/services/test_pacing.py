"""Slots for runs that begin: how many there are, who has the next one, and when one is released."""

import asyncio
from contextlib import AsyncExitStack

from app.services.pacing import Pacing, give_way
from tests.support.patience import WAIT_SECONDS

# Longer than any test takes, so that no slot is released by its timer.
LONG_SECONDS = 3600.0


class Run:
    """A task that waits for a slot, and holds it until it is told to leave."""

    def __init__(self, pacing: Pacing) -> None:
        self.has_begun = asyncio.Event()
        self.leaves = asyncio.Event()
        self.gives_way = asyncio.Event()
        self._pacing = pacing
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._pacing.slot():
            self.has_begun.set()
            # The work is a task of its own, as a step of a run is.
            await asyncio.create_task(self._work())

    async def _work(self) -> None:
        await self.gives_way.wait()
        give_way()
        give_way()
        await self.leaves.wait()

    async def begun(self) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            await self.has_begun.wait()

    async def end(self) -> None:
        self.gives_way.set()
        self.leaves.set()
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.wait({self.task})


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def begun(runs: list[Run]) -> list[bool]:
    return [run.has_begun.is_set() for run in runs]


async def test_runs_begin_in_their_order_as_slots_are_released() -> None:
    pacing = Pacing(2, LONG_SECONDS)
    runs = [Run(pacing) for _ in range(5)]
    await settle()
    assert begun(runs) == [True, True, False, False, False]
    # A run that gives way twice releases one slot, and leaving releases no other.
    runs[0].gives_way.set()
    await runs[2].begun()
    await runs[0].end()
    await settle()
    assert begun(runs) == [True, True, True, False, False]
    await runs[1].end()
    await runs[3].begun()
    assert begun(runs) == [True, True, True, True, False]
    for run in runs[2:]:
        await run.end()
    assert all(begun(runs))


async def test_a_run_that_is_cancelled_in_the_queue_or_with_its_slot_leaves_it_to_the_next() -> None:
    pacing = Pacing(1, LONG_SECONDS)
    holding, waiting, last = (Run(pacing) for _ in range(3))
    await holding.begun()
    waiting.task.cancel()
    await settle()
    holding.task.cancel()
    await last.begun()
    assert not waiting.has_begun.is_set()
    await last.end()


async def test_a_slot_is_released_after_a_while_by_itself() -> None:
    pacing = Pacing(1, 0.01)
    async with AsyncExitStack() as stack, asyncio.timeout(WAIT_SECONDS):
        for _ in range(3):
            await stack.enter_async_context(pacing.slot())


async def test_giving_way_without_a_slot_does_nothing() -> None:
    give_way()
    async with asyncio.timeout(WAIT_SECONDS), Pacing(1, LONG_SECONDS).slot():
        give_way()
