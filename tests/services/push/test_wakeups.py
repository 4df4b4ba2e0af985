"""Wake-ups: one contract for those inside a process and for those between instances."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.engine import make_url

from app.services.event import AnswerDelta
from app.services.push.postgres import PostgresWakeups
from app.services.push.wakeups import MAX_PENDING_MESSAGES, Listener, LocalWakeups, Wakeups
from tests.support.patience import WAIT_SECONDS
from tests.support.postgres import PostgresServer

# How many characters of an answer are published at once.
PIECE_LENGTH = 1000


@asynccontextmanager
async def instance(url: str | None) -> AsyncGenerator[Wakeups]:
    """Wake-ups that have started."""
    wakeups: Wakeups = LocalWakeups() if url is None else PostgresWakeups(make_url(url))
    await wakeups.start()
    try:
        yield wakeups
    finally:
        await wakeups.close()


@pytest.fixture(params=["one process", "two instances"])
async def pair(request: pytest.FixtureRequest) -> AsyncGenerator[tuple[Wakeups, Wakeups]]:
    """Who publishes and who listens."""
    if request.param == "one process":
        async with instance(None) as both:
            yield both, both
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        with server.database() as url:
            async with instance(url) as here, instance(url) as there:
                await until_heard(here, there)
                yield here, there


async def until_heard(here: Wakeups, there: Wakeups) -> None:
    """Return once what is published here arrives there."""
    with there.listen("probe") as listener:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await listener.wait(0.02):
                here.publish("probe")


async def taken(listener: Listener, count: int) -> list[str]:
    """So many messages, as they come."""
    messages = list[str]()
    async with asyncio.timeout(WAIT_SECONDS):
        while len(messages) < count:
            await listener.wait(1.0)
            messages += listener.take()
    return messages


async def test_whoever_listens_is_woken_and_nobody_else(pair: tuple[Wakeups, Wakeups]) -> None:
    here, there = pair
    with there.listen("a") as first, there.listen("a") as second, there.listen("b") as other:
        here.publish("a")
        assert await first.wait(WAIT_SECONDS)
        assert await second.wait(WAIT_SECONDS)
        assert not await other.wait(0.05)


async def test_a_wakeup_before_the_wait_counts_once(pair: tuple[Wakeups, Wakeups]) -> None:
    here, there = pair
    with there.listen("a") as listener, there.listen("b") as behind:
        here.publish("a")
        here.publish("a")
        here.publish("b")
        assert await behind.wait(WAIT_SECONDS)
        assert await listener.wait(0.05)
        assert not await listener.wait(0.05)


async def test_messages_come_in_order_and_once(pair: tuple[Wakeups, Wakeups]) -> None:
    here, there = pair
    sent = [f"message {number}" for number in range(500)]
    with there.listen("a") as listener:
        for message in sent:
            here.publish("a", message)
        assert await taken(listener, len(sent)) == sent
        assert listener.take() == []
        assert not listener.overflowed


@pytest.mark.parametrize("character", ["a", "ß", "語", "🙂", '"', "\\", "\n", "\x01", "\x7f", "\u2028"])
async def test_the_longest_piece_of_an_answer_arrives_as_it_is(pair: tuple[Wakeups, Wakeups], character: str) -> None:
    here, there = pair
    piece = AnswerDelta("00000000-0000-0000-0000-000000000000", character * PIECE_LENGTH)
    with there.listen("deltas:00000000-0000-0000-0000-000000000000") as listener:
        here.publish("deltas:00000000-0000-0000-0000-000000000000", piece.encode())
        [message] = await taken(listener, 1)
    assert AnswerDelta.decode(message) == piece


async def test_a_full_listener_keeps_what_it_has_and_is_marked(pair: tuple[Wakeups, Wakeups]) -> None:
    here, there = pair
    with there.listen("a") as full, there.listen("b") as behind:
        for number in range(MAX_PENDING_MESSAGES + 1):
            here.publish("a", str(number))
        here.publish("b")
        assert await behind.wait(WAIT_SECONDS)
        assert full.take() == [str(number) for number in range(MAX_PENDING_MESSAGES)]
        assert full.overflowed


async def test_who_has_stopped_listening_is_not_known_any_more(pair: tuple[Wakeups, Wakeups]) -> None:
    here, there = pair
    with there.listen("a") as left:
        with there.listen("a"):
            pass
        assert there.has_listener("a")
    assert not there.has_listener("a")
    with there.listen("b") as behind:
        here.publish("a", "too late")
        here.publish("b")
        assert await behind.wait(WAIT_SECONDS)
    assert left.take() == []


async def test_listeners_here_are_woken_at_once_and_only_once(pair: tuple[Wakeups, Wakeups]) -> None:
    here, _ = pair
    with here.listen("a") as listener:
        here.publish("a", "now")
        assert listener.take() == ["now"]
        await asyncio.sleep(0.1)
        assert listener.take() == []


async def test_an_instance_whose_connection_ended_hears_and_is_heard_again(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as url:
        async with instance(url) as here, instance(url) as there:
            await until_heard(here, there)
            for _ in range(2):
                assert postgres_server.end_connections(url) >= 2
                await until_heard(here, there)
                await until_heard(there, here)


async def test_an_instance_may_start_before_its_database(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as url:
        postgres_server.allow_connections(url, allowed=False)
        async with instance(url) as here, instance(url) as there:
            with here.listen("a") as listener:
                here.publish("a")
                assert await listener.wait(0.05)
            postgres_server.allow_connections(url, allowed=True)
            await until_heard(here, there)
