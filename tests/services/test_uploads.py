"""Uploads: what a URL takes, from whom and once, and where it goes."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest

from app.services.attachment import MAX_BYTES
from app.services.sandbox.identity import sandbox_uid
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer, running_server
from tests.support.workspaces import absolute, browser, room_for, started, upload_url

JSON = dict[str, Any]
MEBIBYTE = 1024 * 1024


class MovedClock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


CLOCK = MovedClock()


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str) -> Iterator[RunningServer]:
    with running_server(
        data_dir,
        database_url=database_url,
        clock=CLOCK,
        max_upload_bytes=64 * MEBIBYTE,
        workspace_max_bytes=80 * MEBIBYTE,
        max_transfers_per_caller=2,
        body_timeout_seconds=1.0,
    ) as running:
        yield running


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM) -> Client:
    """A caller with settings."""
    await steps.save_settings(client, llm)
    return client


async def put(url: str, content: Any, **headers: str) -> httpx.Response:
    async with browser() as http:
        return await http.put(url, content=content, headers=headers)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["extensions"]["code"]


def names(path: Path) -> list[str]:
    """Everything below a directory."""
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def test_a_file_is_uploaded_by_its_url_alone(ada: Client) -> None:
    conversation_id, path = await started(ada)
    payload = await room_for(ada, conversation_id, "größe.csv", 4)
    assert (payload["userErrors"], payload["uploadId"]) == ([], None)
    assert (payload["upload"]["path"], payload["upload"]["sizeBytes"]) == ("uploads/größe.csv", 4)
    answer = await put(f"{ada.server.url}/{payload['upload']['url']}", b"a,b\n")
    assert (answer.status_code, answer.json()) == (201, {"path": "uploads/größe.csv", "sizeBytes": 4})
    assert answer.headers["cache-control"] == "no-store"
    found = path / "uploads" / "größe.csv"
    assert (found.read_bytes(), found.stat().st_mode & 0o777) == (b"a,b\n", 0o644)
    assert names(path) == ["uploads", "uploads/größe.csv"]
    # The agent's own, as all files of its workspace.
    assert sandbox_uid(UUID(conversation_id)) in {None, found.stat().st_uid}


async def test_a_file_goes_where_its_path_says_in_the_place_of_another(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "d").mkdir()
    (path / "d" / "old").write_text("older and longer")
    (path / "linked").symlink_to("d/old")
    for where, content in (("d/old", b"new"), ("/workspace/x/y/z", b"deep"), ("./root", b""), ("./linked", b"through")):
        answer = await put(await upload_url(ada, conversation_id, where, len(content)), pieces(content))
        assert answer.status_code == 201, answer.text
    assert names(path) == ["d", "d/old", "linked", "root", "x", "x/y", "x/y/z"]
    assert ((path / "d/old").read_bytes(), (path / "x/y/z").read_bytes()) == (b"through", b"deep")
    assert (path / "root").stat().st_size == 0


@pytest.mark.parametrize(
    ("where", "size", "code", "path"),
    [
        ("", 1, "INVALID_INPUT", ["path"]),
        (".", 1, "INVALID_INPUT", ["path"]),
        ("d/", 1, "INVALID_INPUT", ["path"]),
        ("../x", 1, "INVALID_INPUT", ["path"]),
        ("d/../../x", 1, "INVALID_INPUT", ["path"]),
        ('"/etc/passwd"', 1, "INVALID_INPUT", ["path"]),
        ("/etc/passwd", 1, "INVALID_INPUT", ["path"]),
        ("a\x00b", 1, "INVALID_INPUT", ["path"]),
        ("\ud800", 1, "INVALID_INPUT", ["path"]),
        (".git/config", 1, "INVALID_INPUT", ["path"]),
        ("d/.git/hooks/x", 1, "INVALID_INPUT", ["path"]),
        ("x" * 5000, 1, "INVALID_INPUT", ["path"]),
        ("a", -1, "INVALID_INPUT", ["sizeBytes"]),
        ("a", 64 * MEBIBYTE + 1, "INVALID_INPUT", ["sizeBytes"]),
        ("a", 2**53, "INVALID_INPUT", ["sizeBytes"]),
    ],
)
async def test_what_can_t_be_uploaded_is_refused_at_once(
    ada: Client, where: str, size: int, code: str, path: list[str]
) -> None:
    conversation_id, workspace = await started(ada)
    payload = await room_for(ada, conversation_id, where, size)
    assert payload["upload"] is None
    assert [(error["code"], error["path"]) for error in payload["userErrors"]] == [(code, path)]
    assert names(workspace) == []


@pytest.mark.parametrize(
    ("where", "size", "path"),
    [
        ("../x", 1, ["path"]),
        ("/etc/passwd", 1, ["path"]),
        ("d/../../x", 1, ["path"]),
        ("a\x00b", 1, ["path"]),
        ("\ud800", 1, ["path"]),
        ("d/.git/hooks/x", 1, ["path"]),
        ("x" * 256, 1, ["path"]),
        ("ü" * 128, 1, ["path"]),
        ("x/" * 101 + "x", 1, ["path"]),
        ("", 1, ["path"]),
        ("a", -1, ["sizeBytes"]),
        ("a", MAX_BYTES + 1, ["sizeBytes"]),
        ("a", 2**53, ["sizeBytes"]),
    ],
)
async def test_what_no_message_could_name_is_refused_at_once(
    ada: Client, where: str, size: int, path: list[str]
) -> None:
    payload = await room_for(ada, None, where, size)
    assert payload["upload"] is None
    assert [(error["code"], error["path"]) for error in payload["userErrors"]] == [("INVALID_INPUT", path)]


async def test_an_upload_for_a_message_is_one_put_of_its_size(ada: Client) -> None:
    payload = await room_for(ada, None, "a", 4)
    url = absolute(ada.server, payload["upload"]["url"])
    message = {"text": "Look", "attachments": [{"uploadId": payload["uploadId"]}]}
    given = {"title": "T", "initialMessage": message}

    async def breaking() -> AsyncIterator[bytes]:
        yield b"ab"
        raise OSError

    assert code(await put(url, b"abc")) == (400, "BAD_REQUEST")
    assert code(await put(url, pieces(b"a"))) == (422, "INVALID_INPUT")
    assert code(await put(url, pieces(b"abc", b"de"))) == (422, "INVALID_INPUT")
    with pytest.raises(OSError):  # noqa: PT011  It has no more to it.
        await put(url, breaking())
    refused = (await ada.execute(documents.CREATE, input=given))["createConversation"]
    assert [(error["code"], error["path"]) for error in refused["userErrors"]] == [
        ("NOT_FOUND", ["initialMessage", "attachments", "0", "uploadId"])
    ]
    async with asyncio.timeout(WAIT_SECONDS):
        # Until the server has seen that the last one broke off.
        while (await put(url, pieces(b"ab", b"", b"cd"))).status_code != 201:  # noqa: ASYNC110  It is told to nobody.
            await asyncio.sleep(0.05)
    assert code(await put(url, b"efgh")) == (403, "FORBIDDEN")
    created = (await ada.execute(documents.CREATE, input=given))["createConversation"]
    assert created["userErrors"] == []
    assert code(await put(url, b"efgh")) == (403, "FORBIDDEN")
    conversation_id = created["conversation"]["id"]
    await steps.until_waiting(ada, conversation_id)
    path = ada.server.config.data_dir / "workspaces" / conversation_id
    assert (path / "uploads" / "a").read_bytes() == b"abcd"


@pytest.mark.parametrize("where", ["out/x", "file/x", "d", "pipe", "loop/x"])
async def test_no_link_leads_an_upload_out(ada: Client, where: str, tmp_path: Path) -> None:
    conversation_id, path = await started(ada)
    (path / "out").symlink_to(tmp_path)
    (path / "loop").symlink_to("loop")
    (path / "file").write_text("")
    (path / "d").mkdir()
    os.mkfifo(path / "pipe")
    before = names(path)
    answer = await put(await upload_url(ada, conversation_id, f"./{where}", 1), b"x")
    assert code(answer) == (422, "INVALID_INPUT")
    assert (names(path), names(tmp_path)) == (before, [])


async def test_a_directory_that_moves_meanwhile_is_still_the_one(ada: Client, tmp_path: Path) -> None:
    conversation_id, path = await started(ada)
    (path / "d").mkdir()
    url = await upload_url(ada, conversation_id, "d/x", 2)

    async def moving() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0.2)
        (path / "d").rename(path / "moved")
        (path / "d").symlink_to(tmp_path)
        yield b"b"

    answer = await put(url, moving())
    assert answer.status_code == 201
    assert (names(tmp_path), (path / "moved" / "x").read_bytes()) == ([], b"ab")


async def test_a_body_of_another_length_changes_nothing_and_may_be_sent_again(ada: Client) -> None:
    conversation_id, path = await started(ada)
    url = await upload_url(ada, conversation_id, "a", 4)
    assert code(await put(url, b"abc")) == (400, "BAD_REQUEST")
    assert code(await put(url, pieces(b"ab", b"c"))) == (422, "INVALID_INPUT")
    assert code(await put(url, pieces(b"abc", b"de"))) == (422, "INVALID_INPUT")
    assert [name for name in names(path) if name != "uploads"] == []
    assert (await put(url, pieces(b"ab", b"", b"cd"))).status_code == 201
    assert code(await put(url, b"efgh")) == (403, "FORBIDDEN")
    assert (path / "uploads" / "a").read_bytes() == b"abcd"


async def test_a_url_is_one_uploads_for_five_minutes_until_the_deletion(ada: Client) -> None:
    conversation_id, path = await started(ada)
    url, other = [await upload_url(ada, conversation_id, name, 1) for name in ("a", "b")]
    (claims, _), (_, signature) = (each.partition("ticket=")[2].split(".") for each in (url, other))
    assert code(await put(f"{ada.server.url}/uploads?ticket={claims}.{signature}", b"x")) == (403, "FORBIDDEN")
    assert code(await put(url.replace("uploads?", "downloads?"), b"x"))[0] == 405
    async with browser() as http:
        # A ticket for uploads is none for downloads.
        assert code(await http.get(url.replace("uploads?", "downloads?"))) == (403, "FORBIDDEN")
    try:
        CLOCK.ahead = timedelta(minutes=5, seconds=1)
        assert code(await put(url, b"x")) == (403, "FORBIDDEN")
    finally:
        CLOCK.ahead = timedelta()
    assert names(path) == []
    await ada.execute(documents.DELETE, input={"id": conversation_id})
    assert code(await put(url, b"x")) == (404, "NOT_FOUND")
    payload = await room_for(ada, conversation_id, "a", 1)
    assert [error["code"] for error in payload["userErrors"]] == ["NOT_FOUND"]


async def test_a_client_that_leaves_leaves_nothing(ada: Client) -> None:
    conversation_id, path = await started(ada)
    url = await upload_url(ada, conversation_id, "./a", MEBIBYTE)

    async def breaking() -> AsyncIterator[bytes]:
        yield bytes(1024)
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011  It has no more to it.
        await put(url, breaking())
    async with asyncio.timeout(WAIT_SECONDS):
        while (await put(url, bytes(MEBIBYTE))).status_code != 201:  # noqa: ASYNC110  It is told to nobody.
            await asyncio.sleep(0.05)
    assert names(path) == ["a"]


async def test_the_size_of_a_workspace_counts(ada: Client) -> None:
    conversation_id, path = await started(ada)
    url = await upload_url(ada, conversation_id, "a", 40 * MEBIBYTE)
    (path / "agents").write_bytes(bytes(50 * MEBIBYTE))
    payload = await room_for(ada, conversation_id, "b", 40 * MEBIBYTE)
    assert [(error["code"], error["path"]) for error in payload["userErrors"]] == [("INVALID_INPUT", ["sizeBytes"])]
    # The room is looked at again when it comes.
    assert code(await put(url, bytes(40 * MEBIBYTE)))[0] == 422
    (path / "agents").unlink()
    assert (await put(url, bytes(40 * MEBIBYTE))).status_code == 201


async def test_a_large_and_slow_body_takes_no_memory_and_its_time(ada: Client) -> None:
    """Other bodies have a second here."""
    conversation_id, path = await started(ada)
    size = 64 * MEBIBYTE
    url = await upload_url(ada, conversation_id, "./large", size)

    async def slow() -> AsyncIterator[bytes]:
        piece = os.urandom(MEBIBYTE)
        for _ in range(64):
            await asyncio.sleep(0.03)
            yield piece

    process = psutil.Process()
    before = process.memory_info().rss
    answer = await put(url, slow(), **{"Content-Length": str(size)})
    assert answer.status_code == 201
    assert (path / "large").stat().st_size == size
    assert process.memory_info().rss - before < 32 * MEBIBYTE


@needs_sandbox
async def test_who_watches_the_workspace_is_told(ada: Client) -> None:
    conversation_id, _ = await started(ada)
    async with ada.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) as watching:
        assert (await watching.next())["workspaceChanged"]["changedFiles"] == 0
        await put(await upload_url(ada, conversation_id, "a.txt", 2), b"a\n")
        assert (await watching.next())["workspaceChanged"]["changedFiles"] == 1
