"""Create a conversation, watch it until the agent has answered, find it, and delete it.

Against the server at PARLEY_URL, as whom the bearer token PARLEY_TOKEN belongs to. Each line that it prints is what
somebody said.
"""

import asyncio
import os
import sys
from uuid import uuid4

from parley_client import (
    AgentState,
    ConversationFields,
    ConversationFilter,
    CreateConversationInput,
    DeleteConversationInput,
    MessageInput,
    ParleyClient,
    WatchEventsConversationEventsNodeMessageEvent,
    WatchEventsConversationEventsNodeStateChangeEvent,
)

TOUR_SECONDS = 40


class Refused(Exception):
    """The server said why not, as data."""


def connect(url: str, token: str | None) -> ParleyClient:
    """Queries go over HTTP, subscriptions over graphql-transport-ws."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return ParleyClient(
        url=f"{url}/graphql",
        headers=headers,
        ws_url=f"{url.replace('http', 'ws', 1)}/graphql",
        # The same here as in a browser, which can't set headers on a WebSocket.
        ws_connection_init_payload=headers,
    )


async def create(client: ParleyClient, title: str, text: str) -> ConversationFields:
    """A new conversation; its agent begins at once."""
    given = CreateConversationInput(title=title, initialMessage=MessageInput(text=text))
    payload = (await client.create_conversation(given)).create_conversation
    if payload.conversation is None:
        raise Refused("; ".join(f"{error.code.value}: {error.message}" for error in payload.user_errors))
    return payload.conversation


async def watch(client: ParleyClient, conversation_id: str) -> list[str]:
    """Who said what, from the beginning of the log until the agent waits for the user."""
    said: list[str] = []
    async for change in client.watch_events(conversation_id, after=""):
        match change.conversation_events.node:
            case WatchEventsConversationEventsNodeMessageEvent(source=source, text=text):
                said.append(f"{source.value}: {text}")
            case WatchEventsConversationEventsNodeStateChangeEvent(agent_state=AgentState.AWAITING_USER_INPUT):
                break
            case _:
                pass
    return said


async def titled(client: ParleyClient, title: str) -> list[str]:
    """The IDs of the conversations with this in their title."""
    found = await client.search_conversations(10, ConversationFilter(titleContains=title))
    return [conversation.id for conversation in found.conversations.nodes]


async def main() -> None:
    """The tour, within its time; the conversation is gone afterwards."""
    url, token = os.environ.get("PARLEY_URL", "http://127.0.0.1:8000"), os.environ.get("PARLEY_TOKEN")
    title = str(uuid4())
    async with asyncio.timeout(TOUR_SECONDS), connect(url, token) as client:
        conversation = await create(client, title, "Hello")
        try:
            for line in await watch(client, conversation.id):
                print(line)
            print("found:", await titled(client, title) == [conversation.id])
        finally:
            payload = await client.delete_conversation(DeleteConversationInput(id=conversation.id))
        print("deleted:", payload.delete_conversation.deleted_conversation_id == conversation.id)
        print("left:", await titled(client, title))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except Refused as refusal:
        sys.exit(str(refusal))
