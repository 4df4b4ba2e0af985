"""TCP connections to git hosts, made to the very address that was checked, which prevents DNS rebinding."""

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import cast

import httpcore

from app.errors import InvalidInput

Resolve = Callable[[str, int], Awaitable[list[IPv4Address | IPv6Address]]]
"""Returns all addresses of a host and port. Raises ``InvalidInput`` unless every one of them is public."""

_MAX_ADDRESSES = 4


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """httpcore's network backend with a check: it resolves a name once, and connects to an address that it checked.

    TLS still verifies the host's name, which httpcore does itself. ``private`` are hosts and ports that the operator
    allows, and that are not checked.
    """

    def __init__(self, private: frozenset[tuple[str, int]], resolve: Resolve) -> None:
        self._private = private
        self._resolve = resolve
        self._network = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect. Raises ``InvalidInput`` for a private address, else httpcore's errors."""
        targets = [host] if (host, port) in self._private else await self._checked(host, port)
        last: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for target in targets:
            try:
                return await self._network.connect_tcp(target, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last or httpcore.ConnectError("no address")

    async def sleep(self, seconds: float) -> None:
        """Sleep, as httpcore's interface requires."""
        await self._network.sleep(seconds)

    async def _checked(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except InvalidInput as error:
            # A failing name server is an outage, but a private address is the caller's error.
            if isinstance(error.__cause__, OSError | UnicodeError | TimeoutError):
                raise httpcore.ConnectError(error.message) from error
            raise
        return [str(address) for address in addresses[:_MAX_ADDRESSES]]
