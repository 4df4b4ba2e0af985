"""Uploads that messages name: which message may name which, once, and what a refused message changes."""

import asyncio

import pytest

from app.services.attachment import MAX_BYTES, MAX_TOTAL_BYTES
from tests.services.test_attachments import said
from tests.support import steps
from tests.support.client import Client
from tests.support.message_files import asked, count, created, errors, left, sent, workspace
from tests.support.scripted_llm import ScriptedLLM, text
from tests.support.workspaces import room_for, staged, started


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM) -> Client:
    """A caller with settings."""
    await steps.save_settings(client, llm)
    return client


async def test_an_upload_that_is_not_there_is_refused_in_one_way_and_nothing_is_created(
    ada: Client, stranger: Client, llm: ScriptedLLM
) -> None:
    mine = await staged(ada, "mine", b"m")
    others = await staged(stranger, "others", b"o")
    incomplete = (await room_for(ada, None, "b", 5))["uploadId"]
    gone = await staged(ada, "used", b"u")
    assert (await created(ada, "First", gone))["userErrors"] == []
    messages: set[str] = set()
    for upload in (others, incomplete, gone, "0" * 32, "", "..", "\x00", "\ud800", "x" * 100_000):
        payload = await created(ada, "Look", mine, upload)
        assert payload["conversation"] is None
        assert errors(payload) == [("NOT_FOUND", ["initialMessage", "attachments", "1", "uploadId"])]
        messages.add(payload["userErrors"][0]["message"])
    assert len(messages) == 1
    assert (await count(ada), left(ada, mine, others, gone)) == (1, [True, True, False])
    # It was not used up.
    await steps.save_settings(stranger, llm)
    assert errors(await created(stranger, "Look", others)) == []
    assert errors(await created(ada, "Look", mine)) == []


@pytest.mark.parametrize(
    ("numbers", "where"),
    [
        # One upload twice; the same path; above; below; too many.
        ([0, 0], ["1", "uploadId"]),
        ([0, 1], ["1"]),
        ([0, 2], ["1"]),
        ([2, 0], ["1"]),
        ([0] * 11, []),
        ([0] * 10_000, []),
    ],
)
async def test_uploads_that_don_t_go_together_are_refused_and_stay(
    ada: Client, numbers: list[int], where: list[str]
) -> None:
    uploads = [
        await staged(ada, path, path.encode()) for path in ("image.png", "uploads//image.png", "uploads/image.png/x")
    ]
    payload = await created(ada, "Look", *(uploads[number] for number in numbers))
    assert payload["conversation"] is None
    assert errors(payload) == [("INVALID_INPUT", ["initialMessage", "attachments", *where])]
    conversation_id, _ = await started(ada)
    later = await sent(ada, conversation_id, "Look", *({"uploadId": uploads[number]} for number in numbers))
    assert errors(later) == [("INVALID_INPUT", ["message", "attachments", *where])]
    assert (await count(ada), left(ada, *uploads), await said(ada, conversation_id)) == (1, [True] * 3, [])


async def test_a_key_gives_the_first_conversation_again_with_its_files(ada: Client, llm: ScriptedLLM) -> None:
    upload = await staged(ada, "key.txt", b"a\n")
    # At once, and again later.
    payloads = await asyncio.gather(*(created(ada, "Look", upload, idempotencyKey="k") for _ in range(4)))
    payloads.append(await created(ada, "Look", upload, idempotencyKey="k"))
    assert [payload["userErrors"] for payload in payloads] == [[]] * 5
    [conversation_id] = {payload["conversation"]["id"] for payload in payloads}
    await steps.until_waiting(ada, conversation_id)
    assert (workspace(ada, conversation_id) / "uploads/key.txt").read_text() == "a\n"
    assert asked(llm, "key.txt") == 1
    later = await staged(ada, "b.txt", b"b\n")
    answers = await asyncio.gather(
        *(sent(ada, conversation_id, "And", {"uploadId": later}, idempotencyKey="l") for _ in range(4))
    )
    assert [answer["userErrors"] for answer in answers] == [[]] * 4
    assert (await count(ada), len(await said(ada, conversation_id)), left(ada, upload, later)) == (1, 2, [False] * 2)


async def test_of_many_messages_that_name_one_upload_one_has_it(ada: Client) -> None:
    upload = await staged(ada, "a.txt", b"a\n")
    payloads = await asyncio.gather(*(created(ada, "Look", upload) for _ in range(4)))
    refused = [payload for payload in payloads if payload["userErrors"]]
    assert [errors(payload) for payload in refused] == [
        [("NOT_FOUND", ["initialMessage", "attachments", "0", "uploadId"])]
    ] * 3
    assert await count(ada) == 1


async def test_the_attachments_of_a_conversation_have_a_limit(ada: Client) -> None:
    conversation_id = (await created(ada, "Look", await staged(ada, "a", b"a")))["conversation"]["id"]
    with (ada.server.config.data_dir / "attachments" / conversation_id / "large").open("wb") as file:
        file.truncate(MAX_TOTAL_BYTES)
    upload = await staged(ada, "b", b"b")
    refused = await sent(ada, conversation_id, "Look", {"uploadId": upload})
    assert errors(refused) == [("INVALID_INPUT", ["message", "attachments"])]
    assert left(ada, upload) == [True]


async def test_an_empty_file_and_one_as_large_as_may_be_are_attached(ada: Client, llm: ScriptedLLM) -> None:
    llm.script(text("Seen."))
    uploads = [await staged(ada, "empty", b""), await staged(ada, "large", bytes(MAX_BYTES))]
    conversation_id = (await created(ada, "", *uploads))["conversation"]["id"]
    await steps.until_waiting(ada, conversation_id)
    path = workspace(ada, conversation_id) / "uploads"
    assert [(path / name).stat().st_size for name in ("empty", "large")] == [0, MAX_BYTES]
