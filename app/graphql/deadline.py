"""Timeouts for many concurrent tasks with one timer, which is cheaper than ``asyncio.timeout`` for each request."""

import asyncio
import time

LOOKS = 20
LONGEST_PAUSE_SECONDS = 0.5


class Deadlines:
    """Cancels tasks that run longer than ``seconds``.

    One timer checks all tasks twenty times in that span, but at least every half second, so a task may run longer by
    that interval.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._pause = min(seconds / LOOKS, LONGEST_PAUSE_SECONDS)
        # All tasks have the same timeout, so the insertion order is the order in which they expire.
        self._running: dict[Deadline, None] = {}
        self._is_looking = False

    def start(self) -> "Deadline":
        """Start the current task's deadline. The caller has to call ``stop`` when the work is done."""
        deadline = Deadline(asyncio.current_task(), time.monotonic() + self.seconds, self._running)
        if not self._is_looking:
            self._is_looking = True
            loop = asyncio.get_running_loop()
            loop.call_later(self._pause, self._look, loop)
        return deadline

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for deadline in list(self._running):
            if deadline.at > now:
                break
            deadline.end()
        self._is_looking = bool(self._running)
        if self._is_looking:
            loop.call_later(self._pause, self._look, loop)


class Deadline:
    """The deadline of one task; ``at`` is in seconds of the monotonic clock."""

    __slots__ = ("_is_over", "_running", "_task", "at")

    def __init__(self, task: "asyncio.Task[object] | None", at: float, running: "dict[Deadline, None]") -> None:
        self.at = at
        self._task = task
        self._running = running
        self._is_over = False
        running[self] = None

    def stop(self) -> None:
        """Cancel the deadline, since the task is done."""
        self._running.pop(self, None)

    def end(self) -> None:
        """Cancel the task, since its time is over."""
        self.stop()
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def has_ended_task(self) -> bool:
        """Tell whether a CancelledError came from this deadline alone, and not from somebody else too.

        If so, the task's cancellation is undone with ``Task.uncancel``, and the caller must not raise the error again.
        """
        return self._is_over and self._task is not None and self._task.uncancel() <= 0
