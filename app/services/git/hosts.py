"""Validates hosts, and the names of repositories and branches that become part of providers' URLs."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from app.errors import InvalidInput
from app.services.git.checked_backend import Resolve

MAX_NAME_CHARS = 400
MAX_BRANCH_CHARS = 255
MAX_QUERY_CHARS = 200
MAX_TOKEN_CHARS = 600
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?")
_PART = re.compile(r"[A-Za-z0-9_.-]+")
_NEXT = re.compile(r'<([^<>]{1,4000})>\s*;[^,]{0,200}?\brel="next"')
_MAX_PORT = 65535
_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of a provider that this server calls.

    ``private`` are origins that the operator allows although their addresses are private. With ``only_public``, callers
    can't name a host of their own.
    """

    public_host: str
    private: tuple[str, ...]
    resolve: Resolve
    only_public: bool = False

    def origin(self, host: str | None) -> str:
        """Return scheme and host; ``http`` only if the operator says so. Raises ``InvalidInput`` for a bad host."""
        name = (host or self.public_host).lower()
        if len(name) > MAX_BRANCH_CHARS or not _HOST.fullmatch(name) or _port(name) > _MAX_PORT:
            message = "A host is a name, perhaps with a port, such as git.example.com:8443."
            raise InvalidInput(message, path=("host",))
        for origin in (f"https://{name}", f"http://{name}"):
            if origin in self.private:
                return origin
        if self.only_public and name != self.public_host:
            message = f"Only {self.public_host} can be asked."
            raise InvalidInput(message, path=("host",))
        return f"https://{name}"

    async def check(self, host: str) -> None:
        """Raise ``InvalidInput`` unless the host's addresses are public, or the operator allows it."""
        origin = self.origin(host)
        if origin not in self.private:
            parts = urlsplit(origin)
            await self.resolve(parts.hostname or "", parts.port or 443)


def private_ports(private: tuple[str, ...]) -> frozenset[tuple[str, int]]:
    """Return host and port of each private origin, with the scheme's default port."""
    parts = [urlsplit(origin) for origin in private]
    return frozenset((part.hostname or "", part.port or (443 if part.scheme == "https" else 80)) for part in parts)


def checked_name(name: str, *, nested: bool = False) -> str:
    """Return the name of a repository. Raises ``InvalidInput`` unless it is ``owner/name`` (``nested``: or deeper)."""
    parts = name.split("/")
    deep = len(parts) >= _DEPTH if nested else len(parts) == _DEPTH
    if len(name) > MAX_NAME_CHARS or not deep or not all(_PART.fullmatch(part) for part in parts):
        raise _bad_name()
    if any(part in (".", "..") for part in parts):
        raise _bad_name()
    return name


def checked_branch(name: str) -> str:
    """Return the name of a branch. Raises ``InvalidInput`` if ``git check-ref-format --branch`` would refuse it."""
    bad = not name or len(name) > MAX_BRANCH_CHARS or name in {"@", "HEAD"} or name[0] == "-" or name[-1] == "."
    if bad or not _is_ref(name):
        message = f"A branch's name has 1 to {MAX_BRANCH_CHARS} characters, and only those that git takes there."
        raise InvalidInput(message, path=("branchName",))
    return name


def default_branch(name: str | None) -> str | None:
    """Return a provider's default branch; ``None`` if its name is invalid or too long to be stored."""
    try:
        return None if name is None else checked_branch(name)
    except InvalidInput:
        return None


def _is_ref(name: str) -> bool:
    if not name.isprintable() or ".." in name or "@{" in name or any(character in " ~^:?*[\\" for character in name):
        return False
    return all(part and part[0] != "." and not part.endswith(".lock") for part in name.split("/"))


def checked_query(query: str | None) -> str:
    """Return the query stripped, or "". Raises ``InvalidInput`` if it is too long or has control characters."""
    stripped = (query or "").strip()
    if len(stripped) > MAX_QUERY_CHARS or not stripped.isprintable():
        message = f"A query has at most {MAX_QUERY_CHARS} characters, and no control characters."
        raise InvalidInput(message, path=("query",))
    return stripped


def next_page(link: str | None) -> str | None:
    """Return the ``page`` parameter of the ``next`` URL in a Link header (RFC 8288); ``None`` on the last page."""
    match = _NEXT.search((link or "")[:8000])
    return None if match is None else page_of(match[1])


def page_of(url: str | None) -> str | None:
    """Return the ``page`` parameter of a URL, if it has one."""
    pages = parse_qs(urlsplit(url or "").query).get("page", [])
    return pages[0][:500] if pages else None


def _bad_name() -> InvalidInput:
    return InvalidInput("A repository is named owner/name.", path=("nameWithOwner",))


def _port(name: str) -> int:
    return int(name.partition(":")[2] or 443)
