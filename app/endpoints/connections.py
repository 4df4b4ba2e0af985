"""Limits on connections in all and per address, with priority for those that have shown a valid token."""

import resource
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from app.config import Config
from app.endpoints.headers import Headers

# The ASGI extension by which a request reports to its connection that its token is valid.
TRUST = "parley.trust"
# The extension by which a request ends its connection at once: HTTP has no other sign that a body is not whole.
ABORT = "parley.abort"
# The extension by which a request says that its body may take as long as it comes fast enough.
LONG_BODY = "parley.long_body"
FORWARDED_FOR = b"x-forwarded-for"
# Share of open files that stays for the database, workspaces and calls to models.
_OTHER_FILES_SHARE = 2
_RESERVE_SHARE = 16
_MAX_RESERVE = 64
_ADDRESS_SHARE = 0.75
_IPV6_SITE_BITS = 64


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of connections, in bytes and seconds. The defaults are those of the settings."""

    max_connections: int = 10_000
    max_per_address: int = 1000
    reserve: int = _MAX_RESERVE
    max_head_bytes: int = 64 * 1024
    max_headers: int = 100
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    body_least_bytes_per_second: int = 1024
    write_seconds: float = 60.0
    max_body_bytes: int = 16 * 1024 * 1024
    max_held_head_bytes: int = 16 * 1024 * 1024
    trusted_proxies: tuple[str, ...] = ()


def connection_limits(config: Config) -> ConnectionLimits:
    """Return the configured limits, reduced to what the process's limit on open files allows."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = config.max_connections
    if files != resource.RLIM_INFINITY:
        allowed = max(1, min(allowed, files // _OTHER_FILES_SHARE))
    return ConnectionLimits(
        max_connections=allowed,
        max_per_address=max(1, min(config.max_connections_per_address, int(allowed * _ADDRESS_SHARE))),
        reserve=max(4, min(_MAX_RESERVE, allowed // (_RESERVE_SHARE // _OTHER_FILES_SHARE))),
        max_head_bytes=config.max_head_bytes,
        max_headers=config.max_headers,
        head_seconds=config.head_timeout_seconds,
        body_seconds=config.body_timeout_seconds,
        body_least_bytes_per_second=config.body_least_bytes_per_second,
        write_seconds=max(60.0, 2 * config.send_timeout_seconds),
        max_body_bytes=config.max_body_bytes,
        trusted_proxies=config.trusted_proxies,
    )


def trust(scope: Scope) -> None:
    """Report to the connection of a request or WebSocket that its token is valid.

    It does nothing if another server than Parley's own serves the connection.
    """
    tell: Callable[[], None] | None = scope.get("extensions", {}).get(TRUST)
    if tell is not None:
        tell()


def abort(scope: Scope) -> None:
    """End the connection of a request, as ``trust``."""
    end: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT)
    if end is not None:
        end()


def expect_long_body(scope: Scope) -> None:
    """Lift the limit of time of a request's whole body, as ``trust``; that of its speed stays."""
    lift: Callable[[], None] | None = scope.get("extensions", {}).get(LONG_BODY)
    if lift is not None:
        lift()


class Seat:
    """An admitted connection's place in the ``Gate``. ``leave`` gives it back, and is idempotent."""

    __slots__ = ("_gate", "abort", "address", "is_reserve", "is_trusted")

    def __init__(self, gate: "Gate", address: str, abort: Callable[[], None]) -> None:
        self._gate: Gate | None = gate
        self.address = address
        self.abort = abort
        self.is_trusted = False
        self.is_reserve = False
        """True if there was no regular place: only health checks are answered."""

    def trust(self) -> None:
        """Mark the connection as authenticated, so that it is not closed in favour of new ones."""
        if not self.is_trusted and self._gate is not None:
            self.is_trusted = True
            self._gate.forget_stranger(self)

    def hold(self, size: int) -> bool:
        """Count bytes that a stranger has sent, or give them back; False if all have sent too many."""
        return self._gate is None or self._gate.hold(size)

    def leave(self) -> None:
        """Give the place back, since the connection ends."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.free(self)


class Gate:
    """Counts connections in all and per address.

    If there are too many, the oldest one without a valid token is closed in favour of the new one: a client that floods
    the server only loses its own connections, and a request that is sent at once is answered. If all have shown a
    token, the new connection gets a place in a small reserve, which serves health checks only.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._proxies = Proxies(limits.trusted_proxies)
        self._total = 0
        self._per_address: Counter[str] = Counter()
        self._strangers: OrderedDict[Seat, None] = OrderedDict()
        self._strangers_of: dict[str, OrderedDict[Seat, None]] = {}
        self._reserve: OrderedDict[Seat, None] = OrderedDict()
        self._held_bytes = 0

    @property
    def connections(self) -> int:
        """The number of open connections, including the reserve."""
        return self._total + len(self._reserve)

    @property
    def held_bytes(self) -> int:
        """The buffered bytes of incomplete request heads."""
        return self._held_bytes

    def enter(self, address: str, abort: Callable[[], None]) -> Seat:
        """Admit a connection; the gate may later call ``abort`` to close it at once."""
        seat = Seat(self, address, abort)
        is_full = False
        if not self._proxies.trust(address) and self._per_address[address] >= self.limits.max_per_address:
            is_full = not self._end_oldest(self._strangers_of.get(address))
        if not is_full and self._total >= self.limits.max_connections:
            is_full = not self._end_oldest(self._strangers)
        if is_full:
            if len(self._reserve) >= self.limits.reserve:
                self._end_oldest(self._reserve)
            seat.is_reserve = True
            self._reserve[seat] = None
            return seat
        self._total += 1
        self._per_address[address] += 1
        self._strangers[seat] = None
        self._strangers_of.setdefault(address, OrderedDict())[seat] = None
        return seat

    def free(self, seat: Seat) -> None:
        """Give a place back; ``Seat`` calls this."""
        if seat.is_reserve:
            del self._reserve[seat]
            return
        self._total -= 1
        self._per_address[seat.address] -= 1
        if not self._per_address[seat.address]:
            del self._per_address[seat.address]
        self.forget_stranger(seat)

    def forget_stranger(self, seat: Seat) -> None:
        """Remove from the connections that may be closed for new ones; ``Seat`` calls this."""
        self._strangers.pop(seat, None)
        same = self._strangers_of.get(seat.address)
        if same is not None:
            same.pop(seat, None)
            if not same:
                del self._strangers_of[seat.address]

    def hold(self, size: int) -> bool:
        """Count bytes of an incomplete head; False if all heads together exceed their limit."""
        self._held_bytes += size
        return self._held_bytes <= self.limits.max_held_head_bytes

    def release(self, size: int) -> None:
        """Give counted bytes back."""
        self._held_bytes -= size

    @staticmethod
    def _end_oldest(seats: OrderedDict[Seat, None] | None) -> bool:
        if not seats:
            return False
        oldest = next(iter(seats))
        # The place is freed now, since the event loop reports the end of the connection only later.
        oldest.leave()
        oldest.abort()
        return True


class Proxies:
    """The trusted proxies, whose ``X-Forwarded-For`` header is used."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(network) for network in networks]

    def trust(self, address: str) -> bool:
        """Tell whether it is the address of a trusted proxy."""
        if not self._networks:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client(self, peer: str, headers: Headers) -> str:
        """Return the client's address: the last one in ``X-Forwarded-For`` that is not a trusted proxy's.

        The client may have forged those before it. An IPv6 client usually has 2^64 addresses, so its network is
        returned instead.
        """
        if self.trust(peer):
            hops = (headers.text(FORWARDED_FOR, "") or "").split(",")
            for hop in reversed(hops):
                name = hop.strip()
                if name and not self.trust(name):
                    return _site(name)
        return _site(peer)


def _site(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((parsed, _IPV6_SITE_BITS), strict=False))
    return address
