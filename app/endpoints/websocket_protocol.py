"""WebSocket connections that end, also when the client has stopped reading."""

import asyncio
from typing import cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LINGER_SECONDS = 3.0
# The extension of ASGI by which the application reaches ``WebSocketProtocol.write``.
WRITE = "parley.websocket.write"


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, which waits in ``send`` while more than 64 KiB are unread, so that no queue grows.

    Closing waits for the client to read what was sent; a client that never does would keep the socket and up to that
    much memory for ever. It has 3 s after the application's end.
    """

    _linger: asyncio.TimerHandle | None = None

    async def run_asgi(self) -> None:
        extensions = cast("dict[str, object]", self.scope.get("extensions"))
        extensions[WRITE] = self.write
        await super().run_asgi()
        if not self.disconnected:
            self._linger = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def write(self, text: bytes) -> bool:
        """Send a message of text, unless that would have to wait or nothing can be sent; tells whether it was sent.

        As ``send`` does, without the tasks and the dictionaries on the way there.
        """
        if not self.writable.is_set() or self.close_sent or self.transport.is_closing():
            return False
        self.conn.send_text(text)
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
        super().connection_lost(exc)
