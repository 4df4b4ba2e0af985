"""WebSocket connections that end, also when the client has stopped reading."""

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LINGER_SECONDS = 3.0


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, which waits in ``send`` while more than 64 KiB are unread, so that no queue grows.

    Closing waits for the client to read what was sent; a client that never does would keep the socket and up to that
    much memory for ever. It has 3 s after the application's end.
    """

    _linger: asyncio.TimerHandle | None = None

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if not self.disconnected:
            self._linger = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
        super().connection_lost(exc)
