"""When a connection is read from."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl


class TurnedFlow(FlowControl):
    """uvicorn's, which reads on whenever a request asks for more; here not before the connection's turn has come."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._reader = transport
        self._is_held_back = False

    def hold_back(self) -> None:
        """Read nothing until ``let_on``."""
        self._is_held_back = True
        self._reader.pause_reading()

    def let_on(self) -> None:
        """Read on, unless a request has more than it has asked for."""
        if self._is_held_back:
            self._is_held_back = False
            if not self.read_paused and not self._reader.is_closing():
                self._reader.resume_reading()

    def resume_reading(self) -> None:
        """A request asks for more."""
        if self._is_held_back:
            self.read_paused = False
        else:
            super().resume_reading()
