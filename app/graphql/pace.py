"""Shares the event loop between documents that are new, or ask for the schema, and everything else."""

import asyncio

_LONGEST_PAUSE_SECONDS = 0.25


class Pace:
    """Lets one piece of heavy work begin in an iteration of the loop, and as long a pause follow as it took.

    To parse, to validate or to introspect takes up to 0.1 s, in which nothing else happens. A hundred connections that
    ask for it at the same moment would hold up everybody for ten seconds; so they get half of the time.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._free_at = 0.0

    async def wait(self) -> None:
        """Return when it is the turn of this task, which then does its work at once."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            await asyncio.sleep(max(0.0, self._free_at - loop.time()))
            # Called behind the work, and before the next who waits.
            loop.call_soon(self._end, loop, loop.time())

    def _end(self, loop: asyncio.AbstractEventLoop, began: float) -> None:
        now = loop.time()
        self._free_at = now + min(now - began, _LONGEST_PAUSE_SECONDS)
