"""Limits the event loop's time for parsing, validating and introspecting documents to a half."""

import asyncio

_LONGEST_PAUSE_SECONDS = 0.25


class Pace:
    """Runs expensive work one at a time, each followed by a pause as long as the work took.

    Parsing, validating or introspecting blocks the event loop for up to 0.1 s. Without pauses, a hundred connections
    that need it at the same time would block all others for ten seconds.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._free_at = 0.0

    async def wait(self) -> None:
        """Wait for this task's turn. The caller then has to do its work without awaiting anything before."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            await asyncio.sleep(max(0.0, self._free_at - loop.time()))
            # Runs after the work, and before the next task that waits.
            loop.call_soon(self._end, loop, loop.time())

    def _end(self, loop: asyncio.AbstractEventLoop, began: float) -> None:
        now = loop.time()
        self._free_at = now + min(now - began, _LONGEST_PAUSE_SECONDS)
