"""The main job, end to end."""

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import ScriptedLLM, text


async def test_a_conversation_is_created_answered_talked_to_renamed_and_deleted(
    client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    llm.script(text("Hel", "lo ", "Ada"))
    conversation = await steps.create(client, "Hello, I am Ada")
    waiting = await steps.until_waiting(client, conversation["id"])
    assert waiting["usage"]["promptTokens"] == 11
    await steps.send(client, conversation["id"], "More")
    await steps.until_waiting(client, conversation["id"])
    assert await steps.said(client, conversation["id"]) == [
        ("USER", "Hello, I am Ada"),
        ("AGENT", "Hello Ada"),
        ("USER", "More"),
        ("AGENT", "answer to More"),
    ]
    async with client.subscribe(documents.WATCH_EVENTS, id=conversation["id"], after="") as watching:
        first = await watching.next()
        assert first["conversationEvents"]["node"]["text"] == "Hello, I am Ada"
        renamed = await client.execute(documents.RENAME, input={"id": conversation["id"], "title": " New "})
        assert renamed["renameConversation"]["conversation"]["title"] == "New"
        deleted = await client.execute(documents.DELETE, input={"id": conversation["id"]})
        assert deleted["deleteConversation"]["deletedConversationId"] == conversation["id"]
        rest = await watching.until_end()
    assert [event["conversationEvents"]["node"]["sequence"] for event in rest] == [2, 3, 4, 5, 6, 7, 8]
