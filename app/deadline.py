"""A limit of time for the running task, which takes a quarter of what ``asyncio.timeout`` does."""

import asyncio


class Deadline:
    """Cancels the running task after so many seconds, unless it is stopped before."""

    __slots__ = ("_handle", "_is_over", "_task")

    def __init__(self, seconds: float) -> None:
        self._task = asyncio.current_task()
        self._is_over = False
        self._handle = asyncio.get_running_loop().call_later(seconds, self._end)

    def stop(self) -> None:
        """Called when the work is done."""
        self._handle.cancel()

    def has_ended_task(self) -> bool:
        """Whether a cancellation that arrived is this one's, and nobody else's too; it counts as handled then."""
        return self._is_over and self._task is not None and self._task.uncancel() <= 0

    def _end(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()
