"""Flow control of a connection that has to wait for its turn."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl


class TurnedFlow(FlowControl):
    """uvicorn's flow control, which in addition pauses reading until the connection's turn has come."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._reader = transport
        self._is_held_back = False

    def hold_back(self) -> None:
        """Pause reading until ``let_on`` is called."""
        self._is_held_back = True
        self._reader.pause_reading()

    def let_on(self) -> None:
        """Resume reading, unless the request's handler has not yet read what has arrived."""
        if self._is_held_back:
            self._is_held_back = False
            if not self.read_paused and not self._reader.is_closing():
                self._reader.resume_reading()

    def resume_reading(self) -> None:
        """Resume reading for a handler that needs more of a body, but not before the connection's turn."""
        if self._is_held_back:
            self.read_paused = False
        else:
            super().resume_reading()
