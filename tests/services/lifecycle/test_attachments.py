"""Uploads that messages name, the first message above all: who may name which, and where the agent finds them."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from app.models.provider_account import ProviderType
from app.services.sandbox.identity import sandbox_uid
from tests.services.test_attachments import PNG, said
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.git_server import GitServer, git, git_server
from tests.support.message_files import SEND, asked, created, errors, left, sent, workspace
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import Gate, ScriptedLLM, hold, text
from tests.support.server import RunningServer, running_server
from tests.support.workspaces import absolute, browser, staged, started

JSON = dict[str, Any]
WORKSPACE_BYTES = 32 * 2**20
ENGINE = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}
CLOSED = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/closed"}}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that a repository has a link to."""
    return tmp_path_factory.mktemp("outside")


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory, outside: Path) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as host:
        host.token = TOKEN
        host.add({"README.md": "An engine.\n", "uploads/plan.txt": "the repository's\n", "deep/file": "f\n"})
        host.add({"uploads": outside, "taken": "a file\n"}, "ada/closed")
        yield host


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, git_host: GitServer) -> Iterator[RunningServer]:
    names = ("ada/engine", "ada/closed")
    found = [replace(repository(number, name), clone_url=git_host.url(name)) for number, name in enumerate(names, 1)]
    provider = FakeGitProvider(found=found)
    with running_server(
        data_dir,
        database_url=database_url,
        git_providers={ProviderType.GITHUB: provider},
        git_private_hosts=git_host.origin,
        max_concurrent_conversations=3,
        workspace_max_bytes=WORKSPACE_BYTES,
    ) as running:
        yield running


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM, git_host: GitServer) -> AsyncIterator[Client]:
    """A caller with settings and a token."""
    await steps.save_settings(client, llm)
    await client.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": TOKEN})
    git_host.gate.set()
    yield client
    git_host.gate.set()


def kept(client: Client, conversation_id: str) -> list[str]:
    """Return the names in the conversation's directory of attachments. One without a digest waits for the workspace."""
    return sorted(path.name for path in (client.server.config.data_dir / "attachments" / conversation_id).iterdir())


def names(path: Path) -> list[str]:
    return [each.name for each in path.iterdir()]


async def told(client: Client, conversation_id: str) -> list[str]:
    """Return the texts of the log's messages of the environment."""
    return [words for source, words in await steps.said(client, conversation_id) if source == "ENVIRONMENT"]


def prompt(llm: ScriptedLLM, name: str) -> Any:
    """The content of the user's message that names a file, as the model was sent it."""
    messages = [message for request in llm.requests for message in cast("list[JSON]", request.body["messages"])]
    return next(message["content"] for message in messages if message["role"] == "user" and name in str(message))


async def test_the_first_message_has_files_that_the_agents_first_run_sees(ada: Client, llm: ScriptedLLM) -> None:
    plan, data = await staged(ada, "plan.bin", PNG), await staged(ada, "./in/größe.csv", b"a,b\n")

    payload = await created(ada, "Look", plan, data)

    assert payload["userErrors"] == []
    conversation_id = payload["conversation"]["id"]
    await steps.until_waiting(ada, conversation_id)
    [event] = await said(ada, conversation_id)
    shown = [{name: each[name] for name in ("name", "mediaType", "sizeBytes")} for each in event["attachments"]]
    assert shown == [
        {"name": "plan.bin", "mediaType": "image/png", "sizeBytes": len(PNG)},
        {"name": "größe.csv", "mediaType": "text/csv", "sizeBytes": 4},
    ]
    async with browser() as http:
        answers = [await http.get(absolute(ada.server, each["url"])) for each in event["attachments"]]
    assert [answer.content for answer in answers] == [PNG, b"a,b\n"]
    # Just what a later message says that names files of the workspace.
    said_text, image = prompt(llm, "plan.bin")
    assert said_text["text"] == (
        f"Look\n\nAttached: /workspace/uploads/plan.bin (image/png, {len(PNG)} bytes); "
        "/workspace/in/größe.csv (text/csv, 4 bytes)"
    )
    assert image["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    path = workspace(ada, conversation_id)
    assert ((path / "uploads/plan.bin").read_bytes(), (path / "in/größe.csv").read_bytes()) == (PNG, b"a,b\n")
    status = (path / "uploads/plan.bin").stat()
    assert status.st_mode & 0o777 == 0o644
    assert sandbox_uid(UUID(conversation_id)) in {None, status.st_uid}
    # Nothing waits, and nothing is left.
    assert ([len(name) for name in kept(ada, conversation_id)], left(ada, plan, data)) == ([64, 64], [False, False])


async def test_the_url_of_an_attachment_works_before_the_workspace_is_there(ada: Client, git_host: GitServer) -> None:
    git_host.gate.clear()
    upload = await staged(ada, "early.txt", b"mine\n")
    conversation_id = (await created(ada, "Look", upload, repository=ENGINE))["conversation"]["id"]
    [event] = await said(ada, conversation_id)
    async with browser() as http:
        answer = await http.get(absolute(ada.server, event["attachments"][0]["url"]))
    assert (answer.status_code, answer.content) == (200, b"mine\n")
    assert not workspace(ada, conversation_id).exists()


async def test_a_file_is_put_into_a_clone_also_in_the_place_of_another(
    ada: Client, llm: ScriptedLLM, git_host: GitServer
) -> None:
    git_host.gate.clear()
    uploads = [await staged(ada, "plan.txt", b"mine\n"), await staged(ada, "./deep/er/file", b"new\n")]
    conversation_id = (await created(ada, "Look", *uploads, repository=ENGINE))["conversation"]["id"]
    # It was sent while the workspace was not there: it waits for its run.
    later = await staged(ada, "later.txt", b"later\n")
    assert errors(await sent(ada, conversation_id, "And", {"uploadId": later})) == []
    assert asked(llm, "plan.txt") == 0
    git_host.gate.set()
    await steps.until_said(
        ada, conversation_id, "AGENT", "answer to Attached: /workspace/uploads/later.txt (text/plain, 6 bytes)"
    )
    await steps.until_waiting(ada, conversation_id)
    path = workspace(ada, conversation_id)
    assert (path / "README.md").read_text() == "An engine.\n"
    assert (path / "uploads/plan.txt").read_text() == "mine\n"
    assert (path / "deep/file").read_text() == "f\n"
    assert git(path, "-c", "safe.directory=*", "status", "--porcelain", "-uall").splitlines() == [
        " M uploads/plan.txt",
        "?? deep/er/file",
        "?? uploads/later.txt",
    ]
    assert [len(name) for name in kept(ada, conversation_id)] == [64, 64, 64]


async def test_a_repository_that_has_no_room_for_a_file_is_told_and_nothing_leads_out(
    ada: Client, llm: ScriptedLLM, outside: Path
) -> None:
    uploads = [
        await staged(ada, "plan.png", PNG),
        await staged(ada, "taken/a", b"a"),
        await staged(ada, "./.hidden", b"h"),
    ]
    conversation_id = (await created(ada, "Look", *uploads, repository=CLOSED))["conversation"]["id"]
    await steps.until_waiting(ada, conversation_id)
    unplaced = "{0} can't be put into the workspace: {0} {1}"
    assert sorted((await told(ada, conversation_id))[-2:]) == [
        unplaced.format("taken/a", "is not a directory, or not in one."),
        unplaced.format("uploads/plan.png", "is a symbolic link that leads out of the workspace."),
    ]
    path = workspace(ada, conversation_id)
    assert (path / ".hidden").read_text() == "h"
    assert (path / "taken").read_text() == "a file\n"
    assert names(outside) == []
    # The model sees the image nevertheless, as the user sees the file.
    assert prompt(llm, "plan.png")[1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert [len(name) for name in kept(ada, conversation_id)] == [64, 64, 64]


async def test_a_creation_that_is_refused_uses_no_upload_up(ada: Client, client: Client, llm: ScriptedLLM) -> None:
    upload = await staged(ada, "a", b"a")
    for fields in (
        {"branchName": "main"},
        {"repository": {"byName": {"provider": "GITHUB", "nameWithOwner": "no/ne"}}},
    ):
        assert (await created(ada, "Look", upload, **fields))["conversation"] is None
    assert (await created(ada, "x" * 100_001, upload))["conversation"] is None
    gate = Gate()
    llm.script(*(hold(gate, "I ") for _ in range(3)))
    for _ in range(3):
        await steps.create(ada, "Work hard")
    async with asyncio.timeout(WAIT_SECONDS):
        while asked(llm, "Work hard") < 3:  # noqa: ASYNC110  The model is in another thread.
            await asyncio.sleep(0.02)
    try:
        assert [error["code"] for error in (await created(ada, "Look", upload))["userErrors"]] == ["TOO_MANY_RUNNING"]
        assert left(ada, upload) == [True]
    finally:
        gate.release()


async def test_a_later_message_names_uploads_and_files_of_the_workspace(ada: Client, llm: ScriptedLLM) -> None:
    conversation_id, path = await started(ada)
    (path / "old.txt").write_text("old\n")
    upload = await staged(ada, "new.txt", b"new\n")
    payload = await sent(ada, conversation_id, "Look", {"path": "old.txt"}, {"uploadId": upload})
    assert payload["userErrors"] == []
    await steps.until_waiting(ada, conversation_id)
    assert prompt(llm, "new.txt") == (
        "Look\n\nAttached: /workspace/old.txt (text/plain, 4 bytes); /workspace/uploads/new.txt (text/plain, 4 bytes)"
    )
    assert (path / "uploads/new.txt").read_text() == "new\n"
    # What the agent does to it afterwards stays.
    (path / "uploads/new.txt").write_text("changed\n")
    await steps.send(ada, conversation_id, "Go on")
    await steps.until_said(ada, conversation_id, "AGENT", "answer to Go on")
    assert (path / "uploads/new.txt").read_text() == "changed\n"
    again = await sent(ada, conversation_id, "Look", {"uploadId": upload})
    assert errors(again) == [("NOT_FOUND", ["message", "attachments", "0", "uploadId"])]
    twin = await staged(ada, "./old.txt", b"other\n")
    both = await sent(ada, conversation_id, "Look", {"path": "old.txt"}, {"uploadId": twin})
    assert errors(both) == [("INVALID_INPUT", ["message", "attachments", "1"])]
    for choice in ({}, {"path": "old.txt", "uploadId": twin}, {"path": None}, {"uploadId": None}):
        answer = await ada.post(
            SEND, {"input": {"conversationId": conversation_id, "message": {"text": "", "attachments": [choice]}}}
        )
        assert answer.body["errors"]


async def test_each_of_two_messages_finds_its_own_file_at_one_path(ada: Client, llm: ScriptedLLM) -> None:
    gate = Gate()
    llm.script(hold(gate, "I ", after=("wait.",)))
    conversation_id = (await created(ada, "Wait"))["conversation"]["id"]
    await gate.reached()
    for number in range(2):
        upload = await staged(ada, "image.png", f"{number}".encode())
        assert errors(await sent(ada, conversation_id, f"Number {number}", {"uploadId": upload})) == []
    file = workspace(ada, conversation_id) / "uploads/image.png"
    second = Gate()
    llm.script(hold(second, "I ", after=("see.",)), text("Seen."))
    gate.release()
    await second.reached()
    assert file.read_text() == "0"
    second.release()
    await steps.until_said(ada, conversation_id, "AGENT", "Seen.")
    assert file.read_text() == "1"


async def test_files_of_a_message_that_was_stopped_are_there_for_the_next(
    ada: Client, llm: ScriptedLLM, git_host: GitServer
) -> None:
    git_host.gate.clear()
    upload = await staged(ada, "stopped.txt", b"a\n")
    conversation_id = (await created(ada, "Look", upload, repository=ENGINE))["conversation"]["id"]
    await ada.execute(documents.STOP, input={"id": conversation_id})
    git_host.gate.set()
    await steps.send(ada, conversation_id, "Go on")
    await steps.until_said(ada, conversation_id, "AGENT", "answer to Go on")
    assert (workspace(ada, conversation_id) / "uploads/stopped.txt").read_text() == "a\n"
    assert asked(llm, "stopped.txt") == 1


async def test_files_go_with_their_conversation_also_before_they_are_placed(ada: Client, git_host: GitServer) -> None:
    git_host.gate.clear()
    upload, other = await staged(ada, "a.txt", b"a\n"), await staged(ada, "b.txt", b"b\n")
    conversation_id = (await created(ada, "Look", upload, repository=ENGINE))["conversation"]["id"]
    assert len(kept(ada, conversation_id)) == 2
    await ada.execute(documents.DELETE, input={"id": conversation_id})
    git_host.gate.set()
    data_dir = ada.server.config.data_dir
    async with asyncio.timeout(WAIT_SECONDS):
        while list(data_dir.glob(f"*/{conversation_id}*")):  # noqa: ASYNC110  The system has no event for it.
            await asyncio.sleep(0.02)
    assert errors(await created(ada, "Look", other)) == []


async def test_a_workspace_without_room_is_told(ada: Client) -> None:
    conversation_id, path = await started(ada)
    with (path / "large").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, WORKSPACE_BYTES)
    upload = await staged(ada, "a.txt", b"a\n")
    assert errors(await sent(ada, conversation_id, "Look", {"uploadId": upload})) == []
    await steps.until_waiting(ada, conversation_id)
    reason = f"The workspace would be larger than {WORKSPACE_BYTES} bytes."
    assert await told(ada, conversation_id) == [f"uploads/a.txt can't be put into the workspace: {reason}"]
    assert not (path / "uploads").exists()
