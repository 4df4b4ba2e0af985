"""Counts the iterations of an event loop, for tests of how work is spread over them."""

import asyncio


class Iterations:
    """Counts the iterations of the loop, each of which lets everybody else on."""

    def __init__(self) -> None:
        self.number = 0
        self._task = asyncio.create_task(self._count())

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.number += 1

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
