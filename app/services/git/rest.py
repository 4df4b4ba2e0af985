"""The base class of the three providers' clients: URLs, headers, tokens and pages with Link headers."""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlencode

from pydantic import TypeAdapter

from app.models.provider_account import ProviderType
from app.services.git.base import GitAccess
from app.services.git.client import GitHTTPClient
from app.services.git.hosts import MAX_TOKEN_CHARS, Hosts, next_page
from app.services.git.paging import ProviderPage

T = TypeVar("T")
M = TypeVar("M")

_TOKEN = re.compile(r"[\x21-\x7e]+")


class RESTProvider:
    """Base class of REST clients. ``api_path`` is the API's path on self-managed hosts."""

    def __init__(
        self, provider_type: ProviderType, client: GitHTTPClient, hosts: Hosts, *, public_api: str, api_path: str
    ) -> None:
        self._type = provider_type
        self.client = client
        self._hosts = hosts
        self._public_api = public_api
        self._api_path = api_path

    @property
    def type(self) -> ProviderType:
        """The product whose API this is."""
        return self._type

    def host(self, access: GitAccess) -> str:
        """Return the host that a call goes to, such as ``github.com``."""
        return (access.host or self._hosts.public_host).lower()

    async def check_host(self, host: str) -> None:
        """Raise ``InvalidInput`` unless callers may name this host."""
        await self._hosts.check(host)

    async def close(self) -> None:
        """Close all connections."""
        await self.client.close()

    def origin(self, access: GitAccess) -> str:
        """Return scheme and host of the web pages and of clone URLs."""
        return self._hosts.origin(access.host)

    def api(self, access: GitAccess, path: str, **query: str | int) -> str:
        """Build a URL of the API. Query parameters with empty values are left out."""
        origin = self.origin(access)
        public = origin == f"https://{self._hosts.public_host}"
        kept = {name: value for name, value in query.items() if value != ""}
        base = self._public_api if public else origin + self._api_path
        return f"{base}{path}" + (f"?{urlencode(kept)}" if kept else "")

    def token(self, access: GitAccess) -> str | None:
        """Return the token in plain text. Raises ``GitProviderAuthentication`` if it is malformed."""
        token = None if access.token is None else access.token.get_secret_value()
        if token is not None and (len(token) > MAX_TOKEN_CHARS or not _TOKEN.fullmatch(token)):
            raise self.client.refused("The token is malformed.")
        return token

    def headers(self, access: GitAccess) -> Mapping[str, str]:
        """Return the request's headers, with the token as a bearer token."""
        token = self.token(access)
        return {"accept": "application/json"} | ({} if token is None else {"authorization": f"Bearer {token}"})

    async def one(self, access: GitAccess, url: str, shape: TypeAdapter[T]) -> T | None:
        """GET and validate an object; ``None`` for 404."""
        answer = await self.client.get(url, self.headers(access))
        return None if answer is None else self.client.read(shape, answer)

    async def linked(
        self, access: GitAccess, url: str, shape: TypeAdapter[T], items: Callable[[T], list[M]]
    ) -> ProviderPage[M]:
        """GET a page whose Link header has the next page; an empty page for 404."""
        answer = await self.client.get(url, self.headers(access))
        if answer is None:
            return ProviderPage([], None)
        return ProviderPage(items(self.client.read(shape, answer)), next_page(answer.headers.get("link")))
