"""Bounds on the address and the headers of a request, which are counted as the parser finds them."""

from app.endpoints.connections import ConnectionLimits
from app.endpoints.uvicorn.refusal import Refusal

# Taking apart a header, or a path, costs up to a microsecond for each byte, which is a hundred times what reading it
# costs. Long are only those that nobody looks into: cookies, tokens, and queries.
_MAX_STRUCTURED_BYTES = 4096
_MAX_PATH_BYTES = 2048
_STRUCTURED = frozenset(
    b"accept accept-encoding accept-language access-control-request-headers access-control-request-method connection "
    b"content-encoding content-length content-type expect forwarded host if-match if-modified-since if-none-match "
    b"if-range if-unmodified-since keep-alive last-event-id origin proxy-connection range referer sec-fetch-mode "
    b"sec-fetch-site sec-websocket-extensions sec-websocket-key sec-websocket-protocol sec-websocket-version te "
    b"trailer transfer-encoding upgrade x-forwarded-for".split()
)
# The head of a WebSocket's request is kept for as long as the socket is open, in several forms.
_MAX_SOCKET_HEAD_BYTES = 16 * 1024
_TOO_LARGE = "REQUEST_HEADER_FIELDS_TOO_LARGE"


class HeadBounds:
    """Counts the parts of one head after another; every method raises Refusal where there is too much."""

    __slots__ = ("_fields_bytes", "_limits", "_structured_bytes")

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self.clear()

    def clear(self) -> None:
        """The next head begins."""
        self._fields_bytes = self._structured_bytes = 0

    def check_address(self, address: bytes) -> None:
        """Look at what has come of the address."""
        if len(address) > self._limits.max_head_bytes:
            raise self.too_long(address, has_headers=False)
        if len(address) > _MAX_PATH_BYTES and len(address.partition(b"?")[0]) > _MAX_PATH_BYTES:
            raise Refusal(414, "URI_TOO_LONG", f"A path has at most {_MAX_PATH_BYTES} bytes.")

    def count_header(self, name: bytes, value: bytes, number: int) -> None:
        """Count one more header. ``name``: in lower case; ``number``: how many there are with it."""
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
        """Look at a head that asks for a WebSocket."""
        if len(address) + sum(len(name) + len(value) for name, value in headers) > _MAX_SOCKET_HEAD_BYTES:
            message = f"The handshake of a WebSocket has at most {_MAX_SOCKET_HEAD_BYTES} bytes."
            raise Refusal(431, _TOO_LARGE, message)

    def too_long(self, address: bytes, *, has_headers: bool) -> Refusal:
        """The refusal of a request whose address or headers are too long."""
        limits = self._limits
        if not has_headers and len(address) > limits.max_head_bytes // 2:
            return Refusal(414, "URI_TOO_LONG", f"A request's head has at most {limits.max_head_bytes} bytes.")
        message = (
            f"A request has at most {limits.max_headers} headers, and {limits.max_head_bytes} bytes before its body."
        )
        return Refusal(431, _TOO_LARGE, message)
