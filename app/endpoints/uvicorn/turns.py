"""Shares the event loop among connections: what many send at once is taken up in turns."""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from time import perf_counter

SMALL_BYTES = 4096
# As much is done in a turn, of which each iteration of the loop has one. What a head costs behind the parser, in the
# task that answers it, is up to ten times as much, and is done within the next iteration.
_TURN_SECONDS = 0.005
_TURN_BYTES = 128 * 1024
_TURN_PIECES = 20
MAX_WAITING_BYTES = 16 * 1024 * 1024


class Priority(IntEnum):
    """The order in which connections get a turn. Every turn serves at least one of each priority, so none starves."""

    CALLER = 0
    """Has shown a good token."""
    SMALL = 1
    LARGE = 2


class Turns:
    """Does pieces of work one after another, a few in each iteration of the loop.

    Without it, an iteration takes all that has come: of a thousand connections that send a head at the same moment all
    heads would be parsed, and their requests answered, before a caller or a health check had its turn.
    """

    def __init__(self) -> None:
        self._waiting: tuple[deque[tuple[int, Callable[[], None]]], ...] = tuple(deque() for _ in Priority)
        # On which loop the next turn is scheduled.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seconds_left = _TURN_SECONDS
        self._bytes_left = _TURN_BYTES
        self._pieces_left = _TURN_PIECES
        self._waiting_bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """How much has come that waits for its turn."""
        return self._waiting_bytes

    def hold(self, size: int) -> bool:
        """Count bytes that are about to wait; tells whether there is room for them."""
        self._waiting_bytes += size
        return self._waiting_bytes <= MAX_WAITING_BYTES

    def release(self, size: int) -> None:
        """They wait no more."""
        self._waiting_bytes -= size

    def take(self, priority: Priority, size: int, work: Callable[[], None]) -> bool:
        """Do the work now, where this turn has room for it; else later. Tells whether it is done."""
        if self._has_room() and not any(self._waiting):
            self._do(size, work)
            return True
        self._waiting[priority].append((size, work))
        self._schedule()
        return False

    def _has_room(self) -> bool:
        return self._seconds_left > 0 and self._bytes_left > 0 and self._pieces_left > 0

    def _do(self, size: int, work: Callable[[], None]) -> None:
        self._schedule()
        began = perf_counter()
        try:
            work()
        finally:
            self._seconds_left -= perf_counter() - began
            self._bytes_left -= size
            self._pieces_left -= 1

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._next)

    def _next(self) -> None:
        self._loop = None
        self._seconds_left, self._bytes_left, self._pieces_left = _TURN_SECONDS, _TURN_BYTES, _TURN_PIECES
        if any(self._waiting):
            self._schedule()
        for waiting in reversed(self._waiting):
            if waiting:
                self._do(*waiting.popleft())
        for waiting in self._waiting:
            while waiting and self._has_room():
                self._do(*waiting.popleft())
