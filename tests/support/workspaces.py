"""Workspaces of conversations, as tests find and fill them, and what is downloaded from them."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urljoin

import httpx

from tests.support import steps
from tests.support.client import NO_TLS, Client
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer

JSON = dict[str, Any]
CREATE_DOWNLOAD = """
mutation ($input: CreateDownloadInput!) { createDownload(input: $input) {
  download { url expiresAt fileName mediaType }
  userErrors { ... on UserError { __typename code message path } }
} }
"""
CREATE_UPLOAD = """
mutation ($input: CreateUploadInput!) { createUpload(input: $input) {
  uploadId upload { url expiresAt path sizeBytes }
  userErrors { ... on UserError { __typename code message path } }
} }
"""


async def started(client: Client, **fields: JSON) -> tuple[str, Path]:
    """A conversation whose workspace is there, and where."""
    conversation_id = cast("str", (await steps.create(client, None, **fields))["id"])
    await steps.until_waiting(client, conversation_id)
    path = client.server.config.data_dir / "workspaces" / conversation_id
    if not fields:
        await asyncio.to_thread(path.mkdir, mode=0o700, parents=True, exist_ok=True)
    return conversation_id, path


async def offered(client: Client, conversation_id: str, wanted: str, *paths: str) -> JSON:
    """The payload of a download that is asked for."""
    given = {"conversationId": conversation_id, "format": wanted, "paths": list(paths)}
    return cast("JSON", (await client.execute(CREATE_DOWNLOAD, input=given))["createDownload"])


async def room_for(client: Client, conversation_id: str | None, path: str, size: int) -> JSON:
    """The payload of an upload that is asked for; without a conversation one that a message names."""
    given = {"conversationId": conversation_id, "path": path, "sizeBytes": size}
    return cast("JSON", (await client.execute(CREATE_UPLOAD, input=given))["createUpload"])


async def upload_url(client: Client, conversation_id: str, path: str, size: int) -> str:
    """The absolute URL of an upload."""
    payload = await room_for(client, conversation_id, path, size)
    assert payload["userErrors"] == []
    return absolute(client.server, payload["upload"]["url"])


async def staged(client: Client, path: str, content: bytes) -> str:
    """The id of an upload that no message has named yet."""
    payload = await room_for(client, None, path, len(content))
    async with browser() as http:
        answer = await http.put(absolute(client.server, payload["upload"]["url"]), content=content)
    assert answer.status_code == 201, answer.text
    return cast("str", payload["uploadId"])


async def url_of(client: Client, conversation_id: str, wanted: str, *paths: str) -> str:
    """The absolute URL of a download."""
    payload = await offered(client, conversation_id, wanted, *paths)
    assert payload["userErrors"] == []
    return absolute(client.server, payload["download"]["url"])


def absolute(server: RunningServer, url: str) -> str:
    """A URL that the API gave, as a browser resolves it."""
    return urljoin(f"{server.url}/graphql", url)


@asynccontextmanager
async def browser() -> AsyncGenerator[httpx.AsyncClient]:
    """An HTTP client without any token."""
    async with httpx.AsyncClient(timeout=WAIT_SECONDS, verify=NO_TLS) as http:
        yield http


async def fetched(client: Client, conversation_id: str, wanted: str, *paths: str, **headers: str) -> httpx.Response:
    """Request a download, and return its response."""
    url = await url_of(client, conversation_id, wanted, *paths)
    async with browser() as http:
        return await http.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})


def hostile(path: Path) -> None:
    """Fill a workspace with all that an agent may leave there."""
    (path / "d").mkdir()
    (path / "d" / "a.txt").write_text("a\n")
    (path / "d" / "empty").touch()
    (path / "hollow").mkdir()
    (path / "out").symlink_to("/etc/passwd")
    (path / "up").symlink_to("..")
    os.mkfifo(path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path / "socket"))
    (path / os.fsdecode(b"caf\xe9.txt")).write_text("latin\n")
    (path / "..\\..\\evil.txt").write_text("windows\n")
    (path / ".git").mkdir()
    (path / ".git" / "config").write_text("[core]\n\tfsmonitor = touch /tmp/owned\n")
    (path / ".parley").mkdir()
    (path / ".parley" / "secret").write_text("hidden\n")
