"""Messages that name uploads, and what tests look at then."""

from pathlib import Path
from typing import Any, cast

from tests.support import documents
from tests.support.client import Client
from tests.support.scripted_llm import ScriptedLLM

JSON = dict[str, Any]
SEND = """
mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
  eventEdge { node { ... on MessageEvent { text attachments { name mediaType sizeBytes url } } } }
  userErrors { ... on UserError { code message path } }
} }
"""


async def created(client: Client, text: str, *uploads: str, **fields: object) -> JSON:
    """The payload of a creation whose first message names uploads."""
    message = {"text": text, "attachments": [{"uploadId": upload} for upload in uploads]}
    given = {"title": "A title", "initialMessage": message, **fields}
    return cast("JSON", (await client.execute(documents.CREATE, input=given))["createConversation"])


async def sent(client: Client, conversation_id: str, text: str, *choices: JSON, **fields: object) -> JSON:
    message = {"text": text, "attachments": list(choices)}
    given = {"conversationId": conversation_id, "message": message, **fields}
    return cast("JSON", (await client.execute(SEND, input=given))["sendMessage"])


def errors(payload: JSON) -> list[tuple[str, list[str]]]:
    return [(error["code"], error["path"]) for error in payload["userErrors"]]


def left(client: Client, *uploads: str) -> list[bool]:
    """Which of the uploads are still staged."""
    directory = client.server.config.data_dir / "staged"
    return [len(list(directory.glob(f"*/{upload}/about.json"))) == 1 for upload in uploads]


async def count(client: Client) -> int:
    data = await client.execute("{ conversations { totalCount } }")
    return cast("int", data["conversations"]["totalCount"])


def workspace(client: Client, conversation_id: str) -> Path:
    return client.server.config.data_dir / "workspaces" / conversation_id


def asked(llm: ScriptedLLM, words: str) -> int:
    """The number of requests that have these words."""
    return sum(words in str(request.body) for request in llm.requests)
