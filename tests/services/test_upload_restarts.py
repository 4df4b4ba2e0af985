"""A server that ends between an upload, its message and the agent's first step: the file is where it belongs."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.services.test_attachments import said
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import Gate, ScriptedLLM, hold
from tests.support.server import running_server
from tests.support.workspaces import absolute, browser, room_for, staged

JSON = dict[str, Any]


@asynccontextmanager
async def caller(data_dir: Path, database_url: str) -> AsyncGenerator[Client]:
    """The same caller, on a server that ends with the block."""
    running = running_server(data_dir, database_url=database_url, secret_key="k" * 40)
    server = await asyncio.to_thread(running.__enter__)
    try:
        async with Client(server, "ada") as client:
            yield client
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


def naming(*uploads: str) -> JSON:
    message = {"text": "Look", "attachments": [{"uploadId": upload} for upload in uploads]}
    return {"title": "A title", "initialMessage": message, "idempotencyKey": "k"}


async def test_an_upload_outlives_the_server_and_its_url_is_used_up(
    tmp_path: Path, fresh_database_url: str, llm: ScriptedLLM
) -> None:
    async with caller(tmp_path, fresh_database_url) as ada:
        await steps.save_settings(ada, llm)
        upload = await room_for(ada, None, "a.txt", 2)
        other = await room_for(ada, None, "b.txt", 2)
        async with browser() as http:
            assert (await http.put(absolute(ada.server, upload["upload"]["url"]), content=b"a\n")).status_code == 201
    async with caller(tmp_path, fresh_database_url) as ada:
        async with browser() as http:
            assert (await http.put(absolute(ada.server, upload["upload"]["url"]), content=b"x\n")).status_code == 403
            assert (await http.put(absolute(ada.server, other["upload"]["url"]), content=b"b\n")).status_code == 201
        given = naming(upload["uploadId"], other["uploadId"])
        created = (await ada.execute(documents.CREATE, input=given))["createConversation"]
        assert created["userErrors"] == []
        await steps.until_waiting(ada, created["conversation"]["id"])
        found = tmp_path / "workspaces" / created["conversation"]["id"] / "uploads"
        assert ((found / "a.txt").read_text(), (found / "b.txt").read_text()) == ("a\n", "b\n")


@pytest.mark.parametrize("crash", ["before the move", "within the move", "before the copy"])
async def test_the_next_run_makes_up_for_a_move_that_a_crash_prevented(
    tmp_path: Path, fresh_database_url: str, llm: ScriptedLLM, crash: str
) -> None:
    """The disk is put into the state of a crash, as a kill in these moments can't be timed."""
    gate = Gate()
    llm.script(hold(gate))
    async with caller(tmp_path, fresh_database_url) as ada:
        await steps.save_settings(ada, llm)
        upload = await staged(ada, "a.txt", b"a\n")
        [directory] = (tmp_path / "staged").glob(f"*/{upload}")
        shutil.copytree(directory, tmp_path / "copy", copy_function=shutil.copy2)
        created = (await ada.execute(documents.CREATE, input=naming(upload)))["createConversation"]
        conversation_id = created["conversation"]["id"]
        await gate.reached()
    kept, workspace = tmp_path / "attachments" / conversation_id, tmp_path / "workspaces" / conversation_id
    assert not directory.exists()
    shutil.rmtree(workspace / "uploads")
    if crash == "before the move":
        shutil.rmtree(kept)
        shutil.move(tmp_path / "copy", directory)
    elif crash == "within the move":
        [file] = kept.iterdir()
        file.unlink()
        shutil.move(tmp_path / "copy", kept / f"0000000001.{upload}")
    else:
        (tmp_path / "copy" / "content").unlink()
        shutil.move(tmp_path / "copy", kept / f"0000000001.{upload}")
    gate.release()
    async with caller(tmp_path, fresh_database_url) as ada:
        again = (await ada.execute(documents.CREATE, input=naming(upload)))["createConversation"]
        assert (again["userErrors"], again["conversation"]["id"]) == ([], conversation_id)
        await steps.until_waiting(ada, conversation_id)
        [event] = await said(ada, conversation_id)
        async with browser() as http:
            answer = await http.get(absolute(ada.server, event["attachments"][0]["url"]))
        assert answer.content == b"a\n"
        assert [source for source, _ in await steps.said(ada, conversation_id)] == ["USER", "AGENT"]
    assert (workspace / "uploads" / "a.txt").read_text() == "a\n"
    assert [len(path.name) for path in kept.iterdir()] == [64]
    assert not directory.exists()


async def test_a_file_that_is_lost_is_told_and_the_agent_begins(
    tmp_path: Path, fresh_database_url: str, llm: ScriptedLLM
) -> None:
    gate = Gate()
    llm.script(hold(gate))
    async with caller(tmp_path, fresh_database_url) as ada:
        await steps.save_settings(ada, llm)
        given = naming(await staged(ada, "a.txt", b"a\n"))
        created = (await ada.execute(documents.CREATE, input=given))["createConversation"]
        await gate.reached()
    conversation_id = created["conversation"]["id"]
    shutil.rmtree(tmp_path / "attachments")
    gate.release()
    async with caller(tmp_path, fresh_database_url) as ada:
        await steps.until_waiting(ada, conversation_id)
        told = [text for source, text in await steps.said(ada, conversation_id) if source == "ENVIRONMENT"]
        assert told == ["uploads/a.txt is not there: this server does not have the file."]
