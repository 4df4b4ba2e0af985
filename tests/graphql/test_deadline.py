"""A limit of time for each of many tasks."""

import asyncio

import pytest

from app.graphql.deadline import Deadlines


async def limited(deadlines: Deadlines, seconds: float) -> str:
    deadline = deadlines.start()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not deadline.has_ended_task():
            raise
        return "ended"
    finally:
        deadline.stop()
    return "done"


async def test_what_takes_too_long_is_ended_and_the_rest_goes_on() -> None:
    deadlines = Deadlines(0.2)
    assert await asyncio.gather(*(limited(deadlines, seconds) for seconds in (5, 0, 0.05, 5))) == [
        "ended",
        "done",
        "done",
        "ended",
    ]
    assert await limited(deadlines, 5) == "ended"


async def test_somebody_elses_cancellation_stays_one() -> None:
    task = asyncio.create_task(limited(Deadlines(10), 5))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
