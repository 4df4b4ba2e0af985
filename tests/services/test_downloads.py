"""Downloads: what a URL gives, to whom, for how long, and what a hostile workspace can't do with it."""

import asyncio
import io
import json
import os
import socket
import tarfile
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.git_server import GitServer, git, git_server
from tests.support.raw import connected
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer, running_server
from tests.support.workspaces import absolute, browser, fetched, offered, started, url_of

JSON = dict[str, Any]
NAME = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}
URLS = """
query ($id: ID!) {
  conversation(id: $id) { workspace { entries { nodes { path ... on WorkspaceFile { downloadUrl } } } } }
}
"""
FILES = {"README.md": "An engine.\n", "src/main.py": "print('hello')\n", "old.txt": "one\ntwo\nthree\n"}


class MovedClock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


CLOCK = MovedClock()


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as served:
        served.token = TOKEN
        served.add(FILES)
        yield served


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, git_host: GitServer) -> Iterator[RunningServer]:
    provider = FakeGitProvider(found=[repository(1, "ada/engine")], clone_url=git_host.url())
    with running_server(
        data_dir,
        database_url=database_url,
        clock=CLOCK,
        git_providers={ProviderType.GITHUB: provider},
        git_private_hosts=git_host.origin,
        max_download_bytes=64 * 1024 * 1024,
        max_transfers_per_caller=2,
        send_timeout_seconds=1.0,
    ) as running:
        yield running


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM) -> Client:
    """A caller with settings and a token."""
    await steps.save_settings(client, llm)
    await client.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": TOKEN})
    return client


def hostile(path: Path) -> None:
    """Fill a workspace with all that an agent may leave there."""
    (path / "d").mkdir()
    (path / "d" / "a.txt").write_text("a\n")
    (path / "d" / "empty").touch()
    (path / "hollow").mkdir()
    (path / "out").symlink_to("/etc/passwd")
    (path / "up").symlink_to("..")
    os.mkfifo(path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path / "socket"))
    (path / os.fsdecode(b"caf\xe9.txt")).write_text("latin\n")
    (path / "..\\..\\evil.txt").write_text("windows\n")
    (path / ".git").mkdir()
    (path / ".git" / "config").write_text("[core]\n\tfsmonitor = touch /tmp/owned\n")
    (path / ".parley").mkdir()
    (path / ".parley" / "secret").write_text("hidden\n")


async def test_a_file_is_downloaded_by_its_url_alone(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "größe.html").write_text("<script>alert(1)</script>")
    payload = await offered(ada, conversation_id, "FILE", "größe.html")
    assert payload["userErrors"] == []
    assert (payload["download"]["fileName"], payload["download"]["mediaType"]) == (
        "größe.html",
        "application/octet-stream",
    )
    async with browser() as http:
        answer = await http.get(absolute(ada.server, payload["download"]["url"]))
        head = await http.head(absolute(ada.server, payload["download"]["url"]))
    assert (answer.status_code, answer.text) == (200, "<script>alert(1)</script>")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "25")
    # Nothing of it can run on the server's origin.
    assert {name: answer.headers[name] for name in SAFE} == SAFE
    assert answer.headers["accept-ranges"] == "bytes"


SAFE = {
    "content-disposition": "attachment; filename=\"gr__e.html\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.html",
    "content-type": "application/octet-stream",
    "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
}


async def test_each_file_has_its_url(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / os.fsdecode(b"caf\xe9")).write_text("latin\n")
    found = await ada.execute(URLS, id=conversation_id)
    [node] = found["conversation"]["workspace"]["entries"]["nodes"]
    async with browser() as http:
        answer = await http.get(absolute(ada.server, node["downloadUrl"]))
    assert (answer.status_code, answer.text) == (200, "latin\n")
    assert answer.headers["content-disposition"].endswith("filename*=UTF-8''%22caf%5C351%22")


@pytest.mark.parametrize(
    ("wanted", "status", "content", "content_range"),
    [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=0-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 416, None, "bytes */10"),
        ("bytes=0-1,3-4", 200, "0123456789", None),
        ("bytes=-", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
        ("bytes=" + "9" * 400 + "-", 200, "0123456789", None),
    ],
)
async def test_one_range_of_a_file_is_given(
    ada: Client, wanted: str, status: int, content: str | None, content_range: str | None
) -> None:
    conversation_id, path = await started(ada)
    (path / "digits").write_text("0123456789")
    answer = await fetched(ada, conversation_id, "FILE", "digits", Range=wanted)
    assert answer.status_code == status
    assert answer.headers.get("content-range") == content_range
    if content is not None:
        assert answer.text == content


async def test_a_range_of_another_version_is_the_whole_file(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "digits").write_text("0123456789")
    url = await url_of(ada, conversation_id, "FILE", "digits")
    async with browser() as http:
        version = (await http.head(url)).headers["etag"]
        again = await http.get(url, headers={"Range": "bytes=8-", "If-Range": version})
        (path / "digits").write_text("abcdefghij")
        changed = await http.get(url, headers={"Range": "bytes=8-", "If-Range": version})
    assert (again.status_code, again.text) == (206, "89")
    assert (changed.status_code, changed.text) == (200, "abcdefghij")


async def test_a_zip_holds_the_workspace_and_nothing_from_outside(ada: Client) -> None:
    conversation_id, path = await started(ada)
    hostile(path)
    answer = await fetched(ada, conversation_id, "ZIP")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            "..%5C..%5Cevil.txt",
            "caf%E9.txt",
            "d/",
            "d/a.txt",
            "d/empty",
            "hollow/",
            "out",
            "up",
        ]
        assert archive.read("d/a.txt") == b"a\n"
        # A link stays a link.
        assert archive.read("out") == b"/etc/passwd"
        assert archive.getinfo("out").external_attr >> 16 == 0o120777


async def test_a_tar_holds_the_workspace_with_names_as_they_are(ada: Client) -> None:
    conversation_id, path = await started(ada)
    hostile(path)
    (path / "d" / "a.txt").chmod(0o4755)
    answer = await fetched(ada, conversation_id, "TAR_GZ")
    with tarfile.open(fileobj=io.BytesIO(answer.content), mode="r:gz") as archive:
        found = {member.name: member for member in archive.getmembers()}
        assert sorted(found) == [
            "..\\..\\evil.txt",
            os.fsdecode(b"caf\xe9.txt"),
            "d",
            "d/a.txt",
            "d/empty",
            "hollow",
            "out",
            "up",
        ]
        assert (found["out"].issym(), found["out"].linkname) == (True, "/etc/passwd")
        # No other user, and nothing that gives one rights.
        assert (found["d/a.txt"].mode, found["d/a.txt"].uid, found["d/a.txt"].uname) == (0o755, 0, "")
        content = archive.extractfile("d/a.txt")
        assert content is not None
        assert content.read() == b"a\n"


async def test_an_archive_holds_the_paths_that_are_named(ada: Client) -> None:
    conversation_id, path = await started(ada)
    hostile(path)
    (path / "inner").symlink_to("d")
    answer = await fetched(ada, conversation_id, "ZIP", "/workspace/inner", "d/a.txt", "d/./a.txt", "d", ".git/config")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == [
            ".git/config",
            "d/",
            "d/a.txt",
            "d/empty",
            "inner/",
            "inner/a.txt",
            "inner/empty",
        ]


def checked_out(path: Path) -> Path:
    """The files of the repository as they are at its origin."""
    for name, text in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    git(path, "init", "--quiet")
    git(path, "add", "--all")
    return path


@needs_sandbox
async def test_a_patch_applies_to_the_commit_that_was_cloned(ada: Client, tmp_path: Path) -> None:
    conversation_id, path = await started(ada, repository=NAME)
    origin = checked_out(tmp_path / "origin")
    (path / "README.md").write_text("A better engine.")
    (path / "src/main.py").rename(path / "src/start.py")
    (path / "old.txt").unlink()
    (path / "picture.png").write_bytes(bytes(range(256)) * 4)
    (path / "run.sh").write_text("#!/bin/sh\r\n")
    (path / "run.sh").chmod(0o755)
    (path / "empty").touch()
    (path / "link").symlink_to("README.md")

    answer = await fetched(ada, conversation_id, "PATCH")
    one = await fetched(ada, conversation_id, "PATCH", "README.md")

    assert answer.status_code == 200
    (tmp_path / "patch").write_bytes(answer.content)
    git(origin, "apply", "--whitespace=nowarn", "../patch")
    names = ["README.md", "empty", "link", "picture.png", "run.sh", "src/start.py"]
    found = {str(found.relative_to(origin)) for found in origin.rglob("*") if not found.is_dir()}
    assert {name for name in found if not name.startswith(".git/")} == set(names)
    for name in names:
        assert (origin / name).read_bytes() == (path / name).read_bytes(), name
    assert os.access(origin / "run.sh", os.X_OK)
    assert (origin / "link").is_symlink()
    assert not (origin / "old.txt").exists()
    assert [line for line in one.text.splitlines() if line.startswith("diff")] == ["diff --git a/README.md b/README.md"]


@needs_sandbox
async def test_a_patch_of_nothing_is_empty(ada: Client) -> None:
    conversation_id, _ = await started(ada, repository=NAME)
    answer = await fetched(ada, conversation_id, "PATCH")
    assert (answer.status_code, answer.content) == (200, b"")


@needs_sandbox
async def test_a_patch_that_is_too_large_says_so(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "noise").write_bytes(os.urandom(12 * 1024 * 1024))
    answer = await fetched(ada, conversation_id, "PATCH")
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["extensions"]["code"] == "WORKSPACE_ERROR"


async def test_a_log_is_downloaded_as_the_field_has_it(ada: Client) -> None:
    conversation_id, _ = await started(ada)
    for number in range(3):
        await steps.send(ada, conversation_id, f"# Message {number}")
        await steps.until_said(ada, conversation_id, "AGENT", f"answer to # Message {number}")
    await steps.until_waiting(ada, conversation_id)
    field = (await ada.execute(documents.TRAJECTORY, id=conversation_id))["conversation"]["trajectory"]
    answer = await fetched(ada, conversation_id, "TRAJECTORY_JSON")
    downloaded = json.loads(answer.content)
    assert downloaded["events"] == field["events"]
    assert len(downloaded["events"]) > 5
    assert downloaded["conversationId"] == conversation_id

    markdown = (await fetched(ada, conversation_id, "TRAJECTORY_MARKDOWN")).text
    assert markdown.startswith(f"# A title\n\nConversation `{conversation_id}`")
    assert "\n## User\n" in markdown
    assert "\n### Message 0\n" in markdown
    assert "\nanswer to # Message 2\n" in markdown


async def test_without_a_workspace_logs_can_still_be_downloaded(ada: Client) -> None:
    conversation_id, path = await started(ada)
    path.rmdir()
    for wanted in ("ZIP", "TAR_GZ", "PATCH"):
        payload = await offered(ada, conversation_id, wanted)
        assert payload["download"] is None
        assert [(error["code"], error["path"]) for error in payload["userErrors"]] == [
            ("NOT_FOUND", ["conversationId"])
        ]
    assert (await fetched(ada, conversation_id, "TRAJECTORY_JSON")).status_code == 200


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


async def test_a_url_is_valid_for_five_minutes(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "a").write_text("a")
    url = await url_of(ada, conversation_id, "FILE", "a")
    try:
        async with browser() as http:
            CLOCK.ahead = timedelta(minutes=4, seconds=50)
            assert (await http.get(url)).status_code == 200
            CLOCK.ahead = timedelta(minutes=5, seconds=1)
            refused = await http.get(url)
    finally:
        CLOCK.ahead = timedelta()
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
        async with asyncio.timeout(20):
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
        async with asyncio.timeout(20):
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
