"""Connections to git hosts: made to an address that was checked, never to a name that may answer anew."""

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import cast

import httpcore

from app.errors import InvalidInput

Resolve = Callable[[str, int], Awaitable[list[IPv4Address | IPv6Address]]]
"""All addresses of a host and port; raises ``InvalidInput`` unless every one of them is public."""

_MAX_ADDRESSES = 4


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, checks and connects in one go. TLS still asks for the host's name, since that is httpcore's part.

    ``private``: the hosts and ports, as the operator wrote them, that are called without a check.
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
        """Raises ``InvalidInput`` for a private address, and httpcore's errors for what can't be reached."""
        targets = [host] if (host, port) in self._private else await self._checked(host, port)
        last: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for target in targets:
            try:
                return await self._network.connect_tcp(target, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last or httpcore.ConnectError("no address")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._network.sleep(seconds)

    async def _checked(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except InvalidInput as error:
            # A name server that fails is an outage. An address that is private is the caller's doing.
            if isinstance(error.__cause__, OSError | UnicodeError | TimeoutError):
                raise httpcore.ConnectError(error.message) from error
            raise
        return [str(address) for address in addresses[:_MAX_ADDRESSES]]
