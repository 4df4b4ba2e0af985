"""When a connection is read from, and what is left of it at its end."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

# Methods of its own that asyncio's transport keeps in its attributes, so that it refers to itself.
_OWN_METHODS = ("_read_ready_cb", "_write_ready")


def take_apart(transport: asyncio.BaseTransport) -> None:
    """Have a transport that has ended refer to itself no more, so that no garbage collection is needed.

    A flood of short connections would leave the collector 50,000 objects at a time, which takes it 60 ms.
    """
    attributes = getattr(transport, "__dict__", {})
    for name in _OWN_METHODS:
        if name in attributes:
            attributes[name] = None


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
