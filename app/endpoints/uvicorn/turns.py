"""Fair scheduling of connections: input that many send at the same time is processed in turns."""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from time import perf_counter, thread_time

SMALL_BYTES = 4096
# Limits of the work in one turn; each iteration of the event loop has one turn.
_TURN_SECONDS = 0.005
_TURN_BYTES = 128 * 1024
# Answering a request takes up to ten times as long as parsing its head, and happens within the next iteration. So the
# number of pieces is halved when an iteration took longer than this, in time of the processor, else it grows by one.
_ITERATION_SECONDS = 0.0025
_TURN_PIECES = 20
_LEAST_PIECES = 2
MAX_WAITING_BYTES = 16 * 1024 * 1024


class Priority(IntEnum):
    """The order in which connections get a turn. Every turn serves at least one of each priority, so none starves."""

    CALLER = 0
    """The connection has shown a valid token."""
    SMALL = 1
    LARGE = 2


class Turns:
    """A queue of work, of which each iteration of the event loop does a limited part.

    Without it, one iteration would process all input: if a thousand connections send a head at the same time, all of
    them would be parsed, and their requests answered, before a caller with a token or a health check is served.
    """

    def __init__(self) -> None:
        self._waiting: tuple[deque[tuple[int, Callable[[], None]]], ...] = tuple(deque() for _ in Priority)
        # The event loop on which the next turn is scheduled.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seconds_left = _TURN_SECONDS
        self._bytes_left = _TURN_BYTES
        self._pieces = self._pieces_left = _TURN_PIECES
        self._scheduled_at = 0.0
        self._waiting_bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """The number of buffered bytes that wait for their turn."""
        return self._waiting_bytes

    def hold(self, size: int) -> bool:
        """Count bytes that will wait. Returns False if the limit on waiting bytes is exceeded."""
        self._waiting_bytes += size
        return self._waiting_bytes <= MAX_WAITING_BYTES

    def release(self, size: int) -> None:
        """Stop counting bytes, which no longer wait."""
        self._waiting_bytes -= size

    def take(self, priority: Priority, size: int, work: Callable[[], None]) -> bool:
        """Do the work now if this turn's limits allow it, else queue it. Returns whether it is done."""
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
            self._scheduled_at = thread_time()
            loop.call_soon(self._next)

    def _next(self) -> None:
        self._loop = None
        is_long = thread_time() - self._scheduled_at > _ITERATION_SECONDS
        self._pieces = max(_LEAST_PIECES, self._pieces // 2) if is_long else min(_TURN_PIECES, self._pieces + 1)
        self._seconds_left, self._bytes_left, self._pieces_left = _TURN_SECONDS, _TURN_BYTES, self._pieces
        if any(self._waiting):
            self._schedule()
        for waiting in reversed(self._waiting):
            if waiting:
                self._do(*waiting.popleft())
        for waiting in self._waiting:
            while waiting and self._has_room():
                self._do(*waiting.popleft())
