"""Refusals of downloads, the validity of their URLs, and the ends of those under way."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import pytest

from tests.services.download.conftest import MovedClock
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.raw import connected
from tests.support.workspaces import browser, fetched, hostile, offered, started, url_of


@pytest.mark.parametrize(
    ("wanted", "paths", "code", "where"),
    [
        ("FILE", [], "INVALID_INPUT", ["paths"]),
        ("FILE", [""], "INVALID_INPUT", ["paths"]),
        ("FILE", ["a", "b"], "INVALID_INPUT", ["paths"]),
        ("FILE", ["d"], "NOT_FOUND", ["paths", "0"]),
        ("FILE", ["none"], "NOT_FOUND", ["paths", "0"]),
        ("FILE", ["pipe"], "NOT_FOUND", ["paths", "0"]),
        ("FILE", ["out"], "INVALID_INPUT", ["paths", "0"]),
        ("FILE", ["../x"], "INVALID_INPUT", ["paths", "0"]),
        ("FILE", ["/etc/passwd"], "INVALID_INPUT", ["paths", "0"]),
        ("FILE", ['"/etc/passwd"'], "INVALID_INPUT", ["paths", "0"]),
        ("FILE", ['"\\x"'], "INVALID_INPUT", ["paths", "0"]),
        ("FILE", ["a\x00b"], "INVALID_INPUT", ["paths", "0"]),
        ("FILE", ["\ud800"], "INVALID_INPUT", ["paths", "0"]),
        ("ZIP", ["none"], "NOT_FOUND", ["paths"]),
        ("ZIP", ["out"], "INVALID_INPUT", ["paths"]),
        ("ZIP", ["pipe"], "INVALID_INPUT", ["paths"]),
        ("TAR_GZ", ["a"] * 101, "INVALID_INPUT", ["paths"]),
        ("PATCH", ["x" * 8193], "INVALID_INPUT", ["paths"]),
        ("TRAJECTORY_JSON", ["a"], "INVALID_INPUT", ["paths"]),
    ],
)
async def test_what_can_t_be_downloaded_is_refused_at_once(
    ada: Client, wanted: str, paths: list[str], code: str, where: list[str]
) -> None:
    conversation_id, path = await started(ada)
    hostile(path)
    payload = await offered(ada, conversation_id, wanted, *paths)
    assert payload["download"] is None
    assert [(error["code"], error["path"]) for error in payload["userErrors"]] == [(code, where)]


async def test_an_archive_that_is_too_large_is_refused(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "small").write_text("small")
    with (path / "large").open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    payload = await offered(ada, conversation_id, "ZIP")
    assert [(error["code"], error["path"]) for error in payload["userErrors"]] == [("INVALID_INPUT", ["paths"])]
    assert "67108864 bytes" in payload["userErrors"][0]["message"]
    assert (await offered(ada, conversation_id, "ZIP", "small"))["userErrors"] == []


async def test_a_url_is_for_what_it_was_signed_for(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "a").write_text("a")
    (path / "b").write_text("b")
    tickets = [(await url_of(ada, conversation_id, "FILE", name)).partition("ticket=")[2] for name in ("a", "b")]
    (claims, signature), (other, _) = (ticket.split(".") for ticket in tickets)
    bad = ["", ".", claims, f"{claims}.", f"{other}.{signature}", f"{claims}.{signature[:-4]}AAAA", "é", "x" * 40_000]
    async with browser() as http:
        for ticket in bad:
            refused = await http.get(f"{ada.server.url}/downloads", params={"ticket": ticket})
            assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (403, "FORBIDDEN")
        assert (await http.get(f"{ada.server.url}/downloads")).status_code == 403
        assert (await http.post(f"{ada.server.url}/downloads", params={"ticket": tickets[0]})).status_code == 405
        assert (await http.get(f"{ada.server.url}/downloads", params={"ticket": tickets[0]})).text == "a"


async def test_a_url_is_valid_for_five_minutes(ada: Client, clock: MovedClock) -> None:
    conversation_id, path = await started(ada)
    (path / "a").write_text("a")
    url = await url_of(ada, conversation_id, "FILE", "a")
    try:
        async with browser() as http:
            clock.ahead = timedelta(minutes=4, seconds=50)
            assert (await http.get(url)).status_code == 200
            clock.ahead = timedelta(minutes=5, seconds=1)
            refused = await http.get(url)
    finally:
        clock.ahead = timedelta()
    assert (refused.status_code, refused.json()["errors"][0]["message"]) == (
        403,
        "The ticket has expired: ask for another one.",
    )


async def test_a_deletion_revokes_urls(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "a").write_text("a")
    urls = [await url_of(ada, conversation_id, wanted, *paths) for wanted, *paths in (["FILE", "a"], ["ZIP"])]
    await ada.execute(documents.DELETE, input={"id": conversation_id})
    async with browser() as http:
        for url in urls:
            answer = await http.get(url)
            assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (404, "NOT_FOUND")


def large(path: Path, size: int = 32 * 1024 * 1024) -> None:
    """A file that takes no room, and is not in the buffers of a connection as a whole."""
    with path.open("wb") as file:
        file.truncate(size)


async def slowly(pieces: AsyncIterator[bytes]) -> None:
    """Read to the end, for longer than the server waits before it looks at the conversation again."""
    async for _ in pieces:
        await asyncio.sleep(0.05)


async def test_a_deletion_ends_a_download_that_runs(ada: Client) -> None:
    conversation_id, path = await started(ada)
    large(path / "large")
    url = await url_of(ada, conversation_id, "FILE", "large")
    async with browser() as http, http.stream("GET", url) as answer:
        pieces = answer.aiter_raw()
        await anext(pieces)
        await ada.execute(documents.DELETE, input={"id": conversation_id})
        with pytest.raises(httpx.RemoteProtocolError):
            await slowly(pieces)


async def test_a_file_that_becomes_shorter_breaks_its_download(ada: Client) -> None:
    conversation_id, path = await started(ada)
    large(path / "large")
    url = await url_of(ada, conversation_id, "FILE", "large")
    async with browser() as http, http.stream("GET", url) as answer:
        pieces = answer.aiter_raw()
        await anext(pieces)
        os.truncate(path / "large", 10)
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in pieces:
                pass
        # The next one is of the file as it is now.
    async with browser() as http:
        assert (await http.get(url)).content == bytes(10)


async def test_a_caller_has_so_many_downloads_at_once(ada: Client, stranger: Client) -> None:
    conversation_id, path = await started(ada)
    large(path / "large")
    url = await url_of(ada, conversation_id, "FILE", "large")
    async with browser() as http:
        async with http.stream("GET", url), http.stream("GET", url) as second:
            assert second.status_code == 200
            refused = await http.get(url)
            assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (
                429,
                "TOO_MANY_TRANSFERS",
            )
            assert refused.headers["retry-after"] == "1"
            await steps.save_settings(stranger)
            other, elsewhere = await started(stranger)
            (elsewhere / "a").write_text("a")
            assert (await fetched(stranger, other, "FILE", "a")).status_code == 200
        # Whoever leaves makes room.
        async with asyncio.timeout(WAIT_SECONDS):
            while (await http.head(url)).status_code != 200:  # noqa: ASYNC110  It is told to nobody.
                await asyncio.sleep(0.05)


async def test_a_client_that_does_not_read_is_cut_off(ada: Client) -> None:
    conversation_id, path = await started(ada)
    large(path / "large")
    url = await url_of(ada, conversation_id, "FILE", "large")
    async with browser() as http, AsyncExitStack() as stack:
        for _ in range(2):
            connection = await stack.enter_async_context(connected(ada.server))
            target = url.removeprefix(ada.server.url)
            await connection.send(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            await connection.reader.readuntil(b"\r\n\r\n")
        assert (await http.head(url)).status_code == 429
        async with asyncio.timeout(WAIT_SECONDS):
            while (await http.head(url)).status_code != 200:  # noqa: ASYNC110  It is told to nobody.
                await asyncio.sleep(0.05)


async def test_while_one_downloads_an_archive_others_are_answered_and_memory_stays(ada: Client) -> None:
    conversation_id, path = await started(ada)
    for number in range(8):
        large(path / f"large-{number}", 8 * 1024 * 1024)
    url = await url_of(ada, conversation_id, "TAR_GZ")
    process = psutil.Process()
    before = process.memory_info().rss
    async with browser() as http, http.stream("GET", url) as answer:
        size = 0
        async for piece in answer.aiter_raw():
            size += len(piece)
            if size == len(piece):
                assert (await steps.get(ada, conversation_id))["id"] == conversation_id
    assert size > 100_000
    assert process.memory_info().rss - before < 32 * 1024 * 1024
