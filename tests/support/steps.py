"""What tests do with a conversation, again and again."""

import asyncio
from typing import Any, cast

from tests.support import documents
from tests.support.client import Client
from tests.support.scripted_llm import ScriptedLLM

JSON = dict[str, Any]
WAIT_SECONDS = 20.0
MODEL = "openai/scripted"


async def save_settings(client: Client, llm: ScriptedLLM | None = None, **fields: object) -> JSON:
    """Save settings that use the scripted LLM, or the demonstration model without one."""
    given: JSON = {"llmModel": "demo/assistant"}
    if llm is not None:
        given = {"llmModel": MODEL, "llmBaseUrl": llm.url, "llmApiKey": "sk-test-key-0123456789"}
    data = await client.execute(documents.UPDATE_SETTINGS, input={**given, **fields})
    assert data["updateSettings"]["userErrors"] == []
    return cast("JSON", data["updateSettings"]["settings"])


async def create(client: Client, text: str | None = None, **fields: object) -> JSON:
    """A new conversation. It has a title unless the test gives another, so that no title is asked of the LLM."""
    given: JSON = {"title": "A title", **fields}
    if text is not None:
        given["initialMessage"] = {"text": text}
    data = await client.execute(documents.CREATE, input=given)
    assert data["createConversation"]["userErrors"] == [], data
    return cast("JSON", data["createConversation"]["conversation"])


async def get(client: Client, conversation_id: str) -> JSON:
    """The conversation as it is now."""
    return cast("JSON", (await client.execute(documents.GET, id=conversation_id))["conversation"])


async def until(client: Client, conversation_id: str, **fields: object) -> JSON:
    """The conversation, once these fields have these values; TimeoutError when they never do."""
    found: JSON | None = None
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                found = await get(client, conversation_id)
                if all(found[name] == value for name, value in fields.items()):
                    return found
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"{fields} never came; the last one: {found}") from None


async def until_waiting(client: Client, conversation_id: str) -> JSON:
    """The conversation, once the agent waits for the user."""
    return await until(client, conversation_id, status="RUNNING", agentState="AWAITING_USER_INPUT")


async def send(client: Client, conversation_id: str, text: str, **fields: object) -> JSON:
    """Send a message; the payload."""
    given = {"conversationId": conversation_id, "message": {"text": text}, **fields}
    return cast("JSON", (await client.execute(documents.SEND, input=given))["sendMessage"])


async def send_and_read(client: Client, conversation_id: str, text: str, **fields: object) -> None:
    """Send a message, and return once somebody who watches has read something of the answer.

    What the model streamed in one piece is all in the server's hands by then; what watchers see can lag behind it.
    """
    async with client.subscribe(documents.WATCH_DELTAS, id=conversation_id) as watching:
        await send(client, conversation_id, text, **fields)
        assert (await watching.next())["messageDeltas"]["text"]


async def events(client: Client, conversation_id: str, **arguments: object) -> list[JSON]:
    """Events of the log, the last 100 unless the arguments say otherwise."""
    data = await client.execute(documents.EVENTS, id=conversation_id, **(arguments or {"last": 100}))
    return cast("list[JSON]", data["conversation"]["events"]["nodes"])


async def said(client: Client, conversation_id: str) -> list[tuple[str, str]]:
    """Who said what, in the order of the log."""
    found = await events(client, conversation_id)
    return [(event["source"], event["text"]) for event in found if event["__typename"] == "MessageEvent"]


async def until_said(client: Client, conversation_id: str, source: str, text: str) -> None:
    """Return once somebody has said something; TimeoutError when nobody does."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if (source, text) in await said(client, conversation_id):
                return
            await asyncio.sleep(0.02)
