"""Ways around the one by which models are called: clients that a library builds for itself, and other addresses."""

import asyncio
import importlib
import math
from collections.abc import Awaitable, Callable
from urllib.request import urlopen

import httpx
import pytest

from app.services.llm.transport import (
    CallRefused,
    CheckedSyncTransport,
    CheckedTransport,
    Scope,
    guard_sockets,
    target_of,
    within,
)
from tests.support.scripted_llm import ScriptedLLM

ELSEWHERE = "The model's server leads to another private address, where this server does not follow."


async def get_by_aiohttp(url: str) -> None:
    aiohttp = importlib.import_module("aiohttp")
    async with aiohttp.ClientSession() as session:
        await session.get(url)


async def get_by_requests(url: str) -> None:
    await asyncio.to_thread(importlib.import_module("requests").get, url)


async def get_by_urllib(url: str) -> None:
    await asyncio.to_thread(urlopen, url)


async def get_by_httpx(url: str) -> None:
    async with httpx.AsyncClient(follow_redirects=True) as client:
        await client.get(url)


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("get", [get_by_aiohttp, get_by_requests, get_by_urllib, get_by_httpx])
async def test_a_client_past_the_transport_connects_nowhere(
    server: ScriptedLLM, get: Callable[[str], Awaitable[None]], private: bool
) -> None:
    guard_sockets()
    scope = Scope(private_allowed=private, deadline=math.inf, target=target_of(server.url))
    # The second is a client of the library's own that goes on to another private address at the same port.
    for url in (server.url, server.url.replace("127.0.0.1", "127.0.0.2")):
        with pytest.raises(Exception) as caught, within(scope):  # noqa: PT011  Each has its own.
            await get(url)
        assert is_refused(caught.value)
    assert scope.refusal == "This provider is called in a way that this server can't check."
    assert len(server.requests) == 0


def is_refused(error: BaseException | None) -> bool:
    """Whether the guard is what the error came from."""
    return error is not None and (isinstance(error, CallRefused) or is_refused(error.__cause__ or error.__context__))


@pytest.mark.parametrize("has_target", [True, False])
async def test_a_call_to_a_private_address_gets_from_there_to_no_other(server: ScriptedLLM, has_target: bool) -> None:
    # As a provider's client does that goes on to a URL which it read in an answer.
    elsewhere = server.url.replace("127.0.0.1", "127.0.0.2")
    target = target_of(server.url) if has_target else None
    with ScriptedLLM() as secret:
        scopes = [Scope(private_allowed=True, deadline=math.inf, target=target) for _ in range(2)]
        async with httpx.AsyncClient(transport=CheckedTransport()) as client:
            # A connection to that place is kept, by a call that was meant for it.
            with within(Scope(private_allowed=True, deadline=math.inf)):
                assert (await client.get(secret.url)).status_code > 0
            with within(scopes[0]):
                assert (await client.get(server.url)).status_code > 0
                for url in (secret.url, elsewhere):
                    with pytest.raises(CallRefused, match=ELSEWHERE):
                        await client.get(url)
        with httpx.Client(transport=CheckedSyncTransport()) as client, within(scopes[1]):
            assert client.get(server.url).status_code > 0
            for url in (secret.url, elsewhere):
                with pytest.raises(CallRefused, match=ELSEWHERE):
                    client.get(url)
        assert (len(server.requests), len(secret.requests)) == (2, 1)
    # What the library makes of it is its own affair: it may have been a question that it can go on without.
    assert [scope.refusal for scope in scopes] == [None, None]
