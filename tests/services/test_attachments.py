"""Files that messages name: kept as they were, shown to the model, and downloaded."""

import asyncio
import base64
from pathlib import Path
from typing import Any, cast

import pytest

from app.services.attachment import MAX_BYTES
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.message_files import SEND
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import ScriptedLLM
from tests.support.workspaces import absolute, browser, fetched, started

JSON = dict[str, Any]
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg==")
EVENTS = """
query ($id: ID!) { conversation(id: $id) { events(first: 100) { nodes {
  __typename ... on MessageEvent { source text imageUrls attachments { name mediaType sizeBytes url } }
} } } }
"""


async def send(client: Client, conversation_id: str, text: str, *paths: str) -> JSON:
    message = {"text": text, "attachments": [{"path": path} for path in paths]}
    given = {"conversationId": conversation_id, "message": message}
    return cast("JSON", (await client.execute(SEND, input=given))["sendMessage"])


async def said(client: Client, conversation_id: str) -> list[JSON]:
    """The user's messages."""
    nodes = (await client.execute(EVENTS, id=conversation_id))["conversation"]["events"]["nodes"]
    return [node for node in nodes if node["__typename"] == "MessageEvent" and node["source"] == "USER"]


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM) -> Client:
    """A caller with settings."""
    await steps.save_settings(client, llm)
    return client


async def test_a_message_keeps_its_files_as_they_were_and_the_model_sees_them(ada: Client, llm: ScriptedLLM) -> None:
    conversation_id, path = await started(ada)
    (path / "uploads").mkdir()
    (path / "uploads" / "plan.bin").write_bytes(PNG)
    (path / "data.csv").write_text("a,b\n")

    payload = await send(ada, conversation_id, "Look", "uploads/plan.bin", "/workspace/data.csv")

    assert payload["userErrors"] == []
    await steps.until_waiting(ada, conversation_id)
    (path / "uploads" / "plan.bin").write_bytes(b"changed")
    (path / "data.csv").unlink()
    [event] = await said(ada, conversation_id)
    shown = [{name: each[name] for name in ("name", "mediaType", "sizeBytes")} for each in event["attachments"]]
    assert shown == [
        # An image is one by its content, whatever its name is.
        {"name": "plan.bin", "mediaType": "image/png", "sizeBytes": len(PNG)},
        {"name": "data.csv", "mediaType": "text/csv", "sizeBytes": 4},
    ]
    assert (event["text"], event["imageUrls"]) == ("Look", [])
    async with browser() as http:
        answers = [await http.get(absolute(ada.server, each["url"])) for each in event["attachments"]]
    assert [answer.content for answer in answers] == [PNG, b"a,b\n"]
    assert answers[1].headers["content-disposition"].startswith('attachment; filename="data.csv"')

    [sent] = [message for message in cast("list[JSON]", llm.requests[-1].body["messages"]) if message["role"] == "user"]
    text, image = sent["content"]
    assert text["text"] == (
        f"Look\n\nAttached: /workspace/uploads/plan.bin (image/png, {len(PNG)} bytes); "
        "/workspace/data.csv (text/csv, 4 bytes)"
    )
    assert image["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    # The log has no image in it.
    assert base64.b64encode(PNG).decode()[:40] not in str(await steps.events(ada, conversation_id))


async def test_a_message_of_a_file_alone_is_one(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "a.txt").write_text("a")
    assert (await send(ada, conversation_id, "", "a.txt"))["userErrors"] == []
    await steps.until_waiting(ada, conversation_id)
    [event] = await said(ada, conversation_id)
    assert [each["name"] for each in event["attachments"]] == ["a.txt"]


@pytest.mark.parametrize(
    ("paths", "code", "where"),
    [
        (["none"], "NOT_FOUND", ["0", "path"]),
        (["a.txt", "d"], "INVALID_INPUT", ["1", "path"]),
        ([""], "INVALID_INPUT", ["0", "path"]),
        (["out"], "INVALID_INPUT", ["0", "path"]),
        (["../x"], "INVALID_INPUT", ["0", "path"]),
        (["large"], "INVALID_INPUT", ["0", "path"]),
        (["a.txt"] * 11, "INVALID_INPUT", []),
    ],
)
async def test_what_can_t_be_attached_is_refused_and_nothing_is_said(
    ada: Client, paths: list[str], code: str, where: list[str]
) -> None:
    conversation_id, path = await started(ada)
    (path / "a.txt").write_text("a")
    (path / "d").mkdir()
    (path / "out").symlink_to("/etc/passwd")
    with (path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    payload = await send(ada, conversation_id, "Look", *paths)
    assert [(error["code"], error["path"]) for error in payload["userErrors"]] == [
        (code, ["message", "attachments", *where])
    ]
    assert await said(ada, conversation_id) == []


async def test_a_first_message_names_no_file_of_a_workspace(ada: Client) -> None:
    given = {"initialMessage": {"text": "Look", "attachments": [{"path": "a.txt"}]}}
    created = (await ada.execute(documents.CREATE, input=given))["createConversation"]
    assert created["conversation"] is None
    assert [(error["code"], error["path"]) for error in created["userErrors"]] == [
        ("INVALID_INPUT", ["initialMessage", "attachments", "0", "path"])
    ]


async def test_a_trajectory_names_attachments_and_a_replay_has_no_files(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "a.txt").write_text("a")
    await send(ada, conversation_id, "Look", "a.txt")
    await steps.until_waiting(ada, conversation_id)
    document = (await ada.execute(documents.TRAJECTORY, id=conversation_id))["conversation"]["trajectory"]
    [part] = [event for event in document["events"] if event.get("attachments")]
    assert part["attachments"] == [{"name": "a.txt", "mediaType": "text/plain", "sizeBytes": 1, "path": "a.txt"}]
    assert "_Attached: a.txt_" in (await fetched(ada, conversation_id, "TRAJECTORY_MARKDOWN")).text

    created = (await ada.execute(documents.CREATE, input={"title": "Again", "replay": document}))["createConversation"]
    assert created["userErrors"] == []
    again = created["conversation"]["id"]
    await steps.until_waiting(ada, again)
    [event] = await said(ada, again)
    assert event["attachments"] == [{"name": "a.txt", "mediaType": "text/plain", "sizeBytes": 1, "url": None}]


async def test_attachments_go_with_their_conversation(ada: Client, data_dir: Path) -> None:
    conversation_id, path = await started(ada)
    (path / "a.txt").write_text("a")
    await send(ada, conversation_id, "Look", "a.txt")
    await steps.until_waiting(ada, conversation_id)
    [event] = await said(ada, conversation_id)
    kept = data_dir / "attachments" / conversation_id
    assert len(list(kept.iterdir())) == 1
    await ada.execute(documents.DELETE, input={"id": conversation_id})
    async with asyncio.timeout(WAIT_SECONDS):
        while kept.exists():  # noqa: ASYNC110  The system has no event for it.
            await asyncio.sleep(0.02)
    async with browser() as http:
        assert (await http.get(absolute(ada.server, event["attachments"][0]["url"]))).status_code == 404
