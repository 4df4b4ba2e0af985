"""What the three providers share: host, headers and login with a token."""

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
    """Asks one kind of provider's REST API. ``api_path``: where a host of one's own serves it."""

    def __init__(
        self, kind: ProviderType, client: GitHTTPClient, hosts: Hosts, *, public_api: str, api_path: str
    ) -> None:
        self._kind = kind
        self.client = client
        self._hosts = hosts
        self._public_api = public_api
        self._api_path = api_path

    @property
    def type(self) -> ProviderType:
        """Which kind."""
        return self._kind

    def host(self, access: GitAccess) -> str:
        """The host that is asked, such as ``github.com``."""
        return (access.host or self._hosts.public_host).lower()

    async def check_host(self, host: str) -> None:
        """Raise ``InvalidInput`` unless callers may name this host."""
        await self._hosts.check(host)

    async def close(self) -> None:
        """Give back connections."""
        await self.client.close()

    def origin(self, access: GitAccess) -> str:
        """Scheme and host of the pages that people see, and of clones."""
        return self._hosts.origin(access.host)

    def api(self, access: GitAccess, path: str, **query: str | int) -> str:
        """The URL of a path of the API; empty values of the query are left out."""
        origin = self.origin(access)
        public = origin == f"https://{self._hosts.public_host}"
        kept = {name: value for name, value in query.items() if value != ""}
        base = self._public_api if public else origin + self._api_path
        return f"{base}{path}" + (f"?{urlencode(kept)}" if kept else "")

    def token(self, access: GitAccess) -> str | None:
        """The token in the clear. Raises ``GitProviderAuthentication`` for what can't be one."""
        token = None if access.token is None else access.token.get_secret_value()
        if token is not None and (len(token) > MAX_TOKEN_CHARS or not _TOKEN.fullmatch(token)):
            raise self.client.refused("The token is malformed.")
        return token

    def headers(self, access: GitAccess) -> Mapping[str, str]:
        """Who asks."""
        token = self.token(access)
        return {"accept": "application/json"} | ({} if token is None else {"authorization": f"Bearer {token}"})

    async def one(self, access: GitAccess, url: str, shape: TypeAdapter[T]) -> T | None:
        """What is at a URL; ``None`` where nothing is."""
        answer = await self.client.get(url, self.headers(access))
        return None if answer is None else self.client.read(shape, answer)

    async def linked(
        self, access: GitAccess, url: str, shape: TypeAdapter[T], items: Callable[[T], list[M]]
    ) -> ProviderPage[M]:
        """A page that names the next one in its Link header; empty where nothing is."""
        answer = await self.client.get(url, self.headers(access))
        if answer is None:
            return ProviderPage([], None)
        return ProviderPage(items(self.client.read(shape, answer)), next_page(answer.headers.get("link")))
