"""Flow control of a connection that has to wait for its turn, and the release of its transport at the end."""

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
