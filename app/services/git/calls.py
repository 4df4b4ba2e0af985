"""How many calls to git providers one request may cause, and how many of them at once."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from app.errors import InvalidInput

MAX_CONCURRENT = 8
WINDOW_SECONDS = 60.0


class CallBudget:
    """The calls of one operation; of a subscription, which lives long, the calls of each minute."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._since = time.monotonic()
        self._room = asyncio.Semaphore(MAX_CONCURRENT)

    @asynccontextmanager
    async def call(self) -> AsyncGenerator[None]:
        """Around one call. Raises InvalidInput when there were too many."""
        now = time.monotonic()
        if now - self._since > WINDOW_SECONDS:
            self._left, self._since = self._limit, now
        if self._left <= 0:
            raise InvalidInput(f"One request may cause {self._limit} calls to git providers: ask for less at once.")
        self._left -= 1
        async with self._room:
            yield
