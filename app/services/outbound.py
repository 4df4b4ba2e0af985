"""Protection against SSRF: which URLs callers may make this server request."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import httpx

from app.config import AuthMode, Config
from app.errors import InvalidInput

MAX_URL_CHARS = 2000
RESOLVE_TIMEOUT_SECONDS = 5.0
# Networks whose addresses embed an IPv4 address in the last 32 bits: NAT64, and the deprecated IPv4-compatible form.
_CARRIES_IPV4 = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
# All public addresses are in here. Python's ``is_global`` allows more, such as site-local addresses (fec0::/10) and
# local translation prefixes (64:ff9b:1::/48, ::ffff:0:0:0/96).
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# Reserved for documentation, but missing in Python's list.
_DOCUMENTATION = IPv6Network("3fff::/20")
# Anycast addresses of 6to4 relays (deprecated), which lead to whatever relay is nearest.
_RELAYS = IPv4Network("192.88.99.0/24")


def private_allowed(config: Config) -> bool:
    """Tell whether callers may use private addresses for models: as configured, else only if there are no logins."""
    return config.auth is AuthMode.NONE if config.llm_private_base_urls is None else config.llm_private_base_urls


async def check_base_url(base_url: str, *, private_allowed: bool) -> None:
    """Raise ``InvalidInput`` unless this is an http(s) URL, without credentials, that callers may use.

    Unless private addresses are allowed, all of the host's addresses must be public: a name that resolves to a
    loopback, link-local (cloud metadata), private, multicast, reserved or unspecified address is refused, and so is one
    that does not resolve within 5 s. When the URL is called, the name is resolved and checked again, and the connection
    is made to the checked addresses.
    """
    host, port = _host_and_port(base_url)
    if not private_allowed:
        await public_addresses(host, port)


async def public_addresses(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """Resolve a host to at least one address. Raises ``InvalidInput`` unless every one of them is public.

    Connect to one of these addresses rather than to the name, to be safe from DNS rebinding.
    """
    return check_public(host, await _addresses(host, port))


def check_public(host: str, resolved: Sequence[str]) -> list[IPv4Address | IPv6Address]:
    """Parse a resolver's addresses of a host. Raises ``InvalidInput`` unless every one of them is public."""
    addresses = [ip_address(address.partition("%")[0]) for address in resolved]
    if not all(_is_public(address) for address in addresses):
        message = f"The address of {host[:100]} is private. This server calls public addresses only."
        raise InvalidInput(message)
    return addresses


def _host_and_port(base_url: str) -> tuple[str, int]:
    if len(base_url) > MAX_URL_CHARS:
        message = f"A base URL has at most {MAX_URL_CHARS} characters."
        raise InvalidInput(message)
    if not base_url.isascii() or any(character.isspace() or not character.isprintable() for character in base_url):
        message = "A base URL has no spaces, control characters or letters outside ASCII."
        raise InvalidInput(message)
    try:
        # The client's own parser decides which host is called. If urllib's parser disagrees, the URL is refused.
        url, parts = httpx.URL(base_url), urlsplit(base_url)
        host, port = url.raw_host.decode("ascii"), url.port
        is_plain = (parts.hostname or "") == host.lower() and parts.port in (port, 80, 443)
    except (ValueError, httpx.InvalidURL) as error:
        message = "The base URL is malformed."
        raise InvalidInput(message) from error
    if parts.scheme not in ("http", "https") or not host:
        message = "A base URL starts with http:// or https:// and names a host."
        raise InvalidInput(message)
    if url.userinfo or "@" in parts.netloc or "\\" in base_url:
        message = "A base URL holds no user name or password: the API key has its own setting."
        raise InvalidInput(message)
    if "#" in base_url or "%" in host or not is_plain:
        message = "The base URL is malformed: it has no fragment, and its host no zone or escape."
        raise InvalidInput(message)
    return host, port or (443 if parts.scheme == "https" else 80)


async def _addresses(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_SECONDS):
            # Like the HTTP client, getaddrinfo accepts inet_aton's notations too (127.1, 0x7f000001).
            resolved = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        message = f"The host {host[:100]} can't be resolved."
        raise InvalidInput(message) from error
    return [str(sockaddr[0]) for *_, sockaddr in resolved]


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and address not in _RELAYS
    if address.ipv4_mapped is not None:
        return _is_public(address.ipv4_mapped)
    carried = [address.sixtofour, *(address.teredo or ())]
    is_carrier = any(address in network for network in _CARRIES_IPV4)
    if is_carrier:
        carried.append(IPv4Address(int(address) & 0xFFFFFFFF))
    is_given_out = is_carrier or (address in _GLOBAL_UNICAST and address not in _DOCUMENTATION)
    public = address.is_global and is_given_out
    return public and all(_is_public(inner) for inner in carried if inner is not None)
