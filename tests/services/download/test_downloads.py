"""Downloads: what a URL gives, to whom, for how long, and what a hostile workspace can't do with it."""

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.services.download.conftest import FILES
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.git_server import git
from tests.support.sandboxes import needs_sandbox
from tests.support.workspaces import absolute, browser, fetched, hostile, offered, started, url_of

JSON = dict[str, Any]
NAME = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}
URLS = """
query ($id: ID!) {
  conversation(id: $id) { workspace { entries { nodes { path ... on WorkspaceFile { downloadUrl } } } } }
}
"""


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
