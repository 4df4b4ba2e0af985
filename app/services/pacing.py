"""Lets few runs begin at the same time, so that a burst of them delays other work by no more than these few.

Until its model is asked, a run needs the interpreter, in the event loop and in threads; then it waits for the network.
If 200 begin at once, their threads compete for the interpreter: the runs take twice the CPU, and a page waits for
hundreds of milliseconds.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar

AT_ONCE = 4
# A run that has other work first, such as a clone, keeps its slot no longer.
SLOT_SECONDS = 0.1


class _Slot:
    """A slot among the runs that begin, which is released once."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._is_held = True

    def release(self) -> None:
        if self._is_held:
            self._is_held = False
            self._slots.release()


_current: ContextVar[_Slot | None] = ContextVar("pacing_slot", default=None)


class Pacing:
    """A queue for ``at_once`` slots, first in, first out."""

    def __init__(self, at_once: int = AT_ONCE, slot_seconds: float = SLOT_SECONDS) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._slot_seconds = slot_seconds

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        """Wait for a slot, and hold it until ``give_way``, for ``slot_seconds``, or until the block ends."""
        await self._slots.acquire()
        slot = _Slot(self._slots)
        timer = asyncio.get_running_loop().call_later(self._slot_seconds, slot.release)
        token = _current.set(slot)
        try:
            yield
        finally:
            _current.reset(token)
            timer.cancel()
            slot.release()


def give_way() -> None:
    """Release the slot of the current task, or of the task that started it, if there is one."""
    slot = _current.get()
    if slot is not None:
        slot.release()
