"""Limits on a request's target and headers, which are counted while they are parsed."""

from app.endpoints.connections import ConnectionLimits
from app.endpoints.uvicorn.refusal import Refusal

# Parsing a structured header or a path takes up to a microsecond for each byte, a hundred times as long as reading it.
# Only those that are not parsed may be long: cookies, tokens and query strings.
_MAX_STRUCTURED_BYTES = 4096
_MAX_PATH_BYTES = 2048
_STRUCTURED = frozenset(
    b"accept accept-encoding accept-language access-control-request-headers access-control-request-method connection "
    b"content-encoding content-length content-type expect forwarded host if-match if-modified-since if-none-match "
    b"if-range if-unmodified-since keep-alive last-event-id origin proxy-connection range referer sec-fetch-mode "
    b"sec-fetch-site sec-websocket-extensions sec-websocket-key sec-websocket-protocol sec-websocket-version te "
    b"trailer transfer-encoding upgrade x-forwarded-for".split()
)
# A WebSocket's handshake is kept in memory while the socket is open, in several forms, so it must be shorter.
_MAX_SOCKET_HEAD_BYTES = 16 * 1024
_TOO_LARGE = "REQUEST_HEADER_FIELDS_TOO_LARGE"


class HeadBounds:
    """Counts the parts of a head. Methods raise Refusal if a limit is exceeded."""

    __slots__ = ("_fields_bytes", "_limits", "_structured_bytes")

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self.clear()

    def clear(self) -> None:
        """Reset the counts for the next head."""
        self._fields_bytes = self._structured_bytes = 0

    def check_address(self, address: bytes) -> None:
        """Check the part of the target that has arrived."""
        if len(address) > self._limits.max_head_bytes:
            raise self.too_long(address, has_headers=False)
        if len(address) > _MAX_PATH_BYTES and len(address.partition(b"?")[0]) > _MAX_PATH_BYTES:
            raise Refusal(414, "URI_TOO_LONG", f"A path has at most {_MAX_PATH_BYTES} bytes.")

    def count_header(self, name: bytes, value: bytes, number: int) -> None:
        """Count a header. ``name`` is in lower case; ``number`` is the count of headers including this one."""
        self._fields_bytes += len(name) + len(value)
        if name in _STRUCTURED:
            self._structured_bytes += len(value)
            if self._structured_bytes > _MAX_STRUCTURED_BYTES:
                message = f"The headers that are taken apart have at most {_MAX_STRUCTURED_BYTES} bytes together."
                raise Refusal(431, _TOO_LARGE, message)
        if self._fields_bytes > self._limits.max_head_bytes or number > self._limits.max_headers:
            raise self.too_long(b"", has_headers=True)

    @staticmethod
    def check_handshake(address: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Check the length of a WebSocket's handshake."""
        if len(address) + sum(len(name) + len(value) for name, value in headers) > _MAX_SOCKET_HEAD_BYTES:
            message = f"The handshake of a WebSocket has at most {_MAX_SOCKET_HEAD_BYTES} bytes."
            raise Refusal(431, _TOO_LARGE, message)

    def too_long(self, address: bytes, *, has_headers: bool) -> Refusal:
        """Build the refusal of a request whose target or headers are too long."""
        limits = self._limits
        if not has_headers and len(address) > limits.max_head_bytes // 2:
            return Refusal(414, "URI_TOO_LONG", f"A request's head has at most {limits.max_head_bytes} bytes.")
        message = (
            f"A request has at most {limits.max_headers} headers, and {limits.max_head_bytes} bytes before its body."
        )
        return Refusal(431, _TOO_LARGE, message)
