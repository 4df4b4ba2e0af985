"""The budget of calls to git providers that one request may cause, with a limit on concurrent calls."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from app.errors import InvalidInput

MAX_CONCURRENT = 8
WINDOW_SECONDS = 60.0


class CallBudget:
    """The budget of one operation. It is refilled every minute, which matters only to subscriptions."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._since = time.monotonic()
        self._room = asyncio.Semaphore(MAX_CONCURRENT)

    @asynccontextmanager
    async def call(self) -> AsyncGenerator[None]:
        """Wrap one call: wait for a free slot. Raises InvalidInput if the budget is used up."""
        now = time.monotonic()
        if now - self._since > WINDOW_SECONDS:
            self._left, self._since = self._limit, now
        if self._left <= 0:
            raise InvalidInput(f"One request may cause {self._limit} calls to git providers: ask for less at once.")
        self._left -= 1
        async with self._room:
            yield
