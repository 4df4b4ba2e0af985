"""Steps that many tests share: create a conversation, send messages, wait for states, read events."""

import asyncio
from typing import Any, cast

from tests.support import documents
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import ScriptedLLM

JSON = dict[str, Any]
MODEL = "openai/scripted"
API_KEY = "sk-test-key-0123456789"


async def save_settings(client: Client, llm: ScriptedLLM | None = None, **fields: object) -> JSON:
    """Save settings that use the scripted LLM, or without one the demo model."""
    given: JSON = {"llmModel": "demo/assistant"}
    if llm is not None:
        given = {"llmModel": MODEL, "llmBaseUrl": llm.url, "llmApiKey": API_KEY}
    data = await client.execute(documents.UPDATE_SETTINGS, input={**given, **fields})
    assert data["updateSettings"]["userErrors"] == []
    return cast("JSON", data["updateSettings"]["settings"])


async def create(client: Client, text: str | None = None, **fields: object) -> JSON:
    """Create a conversation. It has a title by default, so that the LLM is not asked to generate one."""
    given: JSON = {"title": "A title", **fields}
    if text is not None:
        given["initialMessage"] = {"text": text}
    data = await client.execute(documents.CREATE, input=given)
    assert data["createConversation"]["userErrors"] == [], data
    return cast("JSON", data["createConversation"]["conversation"])


async def get(client: Client, conversation_id: str) -> JSON:
    """Return the conversation's current fields."""
    return cast("JSON", (await client.execute(documents.GET, id=conversation_id))["conversation"])


async def until(client: Client, conversation_id: str, **fields: object) -> JSON:
    """Poll until the conversation has these values, and return it. Raises TimeoutError."""
    conversation: JSON | None = None
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                conversation = await get(client, conversation_id)
                if all(conversation[name] == value for name, value in fields.items()):
                    return conversation
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"{fields} never came; the last one: {conversation}") from None


async def until_waiting(client: Client, conversation_id: str) -> JSON:
    """Wait until the agent waits for the user, and return the conversation."""
    return await until(client, conversation_id, status="RUNNING", agentState="AWAITING_USER_INPUT")


async def send(client: Client, conversation_id: str, text: str, **fields: object) -> JSON:
    """Send a message, and return the payload."""
    given = {"conversationId": conversation_id, "message": {"text": text}, **fields}
    return cast("JSON", (await client.execute(documents.SEND, input=given))["sendMessage"])


async def send_and_read(client: Client, conversation_id: str, text: str, **fields: object) -> None:
    """Send a message, and return once a subscriber has received the first delta of the answer.

    By then the server has all of the text that the model sent with it, although subscribers may receive the rest later.
    """
    async with client.subscribe(documents.WATCH_DELTAS, id=conversation_id) as watching:
        await send(client, conversation_id, text, **fields)
        assert (await watching.next())["messageDeltas"]["text"]


async def events(client: Client, conversation_id: str, **arguments: object) -> list[JSON]:
    """Return events of the log; by default the last 100."""
    data = await client.execute(documents.EVENTS, id=conversation_id, **(arguments or {"last": 100}))
    return cast("list[JSON]", data["conversation"]["events"]["nodes"])


async def said(client: Client, conversation_id: str) -> list[tuple[str, str]]:
    """Return source and text of all messages, in the order of the log."""
    nodes = await events(client, conversation_id)
    return [(event["source"], event["text"]) for event in nodes if event["__typename"] == "MessageEvent"]


async def until_said(client: Client, conversation_id: str, source: str, text: str) -> None:
    """Wait until the log has this message. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if (source, text) in await said(client, conversation_id):
                return
            await asyncio.sleep(0.02)
