"""A limit of time for each of many tasks, which costs a fraction of a timer for each."""

import asyncio
import time

LOOKS = 20
LONGEST_PAUSE_SECONDS = 0.5


class Deadlines:
    """Cancels tasks that take longer than so many seconds, and up to a twentieth more: one timer looks at all."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._pause = min(seconds / LOOKS, LONGEST_PAUSE_SECONDS)
        # In the order in which they began, since all have as long.
        self._running: dict[Deadline, None] = {}
        self._is_looking = False

    def start(self) -> "Deadline":
        """The running task's deadline; stop it when the work is done."""
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
    """When a task has to be done."""

    __slots__ = ("_is_over", "_running", "_task", "at")

    def __init__(self, task: "asyncio.Task[object] | None", at: float, running: "dict[Deadline, None]") -> None:
        self.at = at
        self._task = task
        self._running = running
        self._is_over = False
        running[self] = None

    def stop(self) -> None:
        """The work is done."""
        self._running.pop(self, None)

    def end(self) -> None:
        """Cancel the task."""
        self.stop()
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def has_ended_task(self) -> bool:
        """Whether a cancellation that arrived is this one's, and nobody else's too; it counts as handled then."""
        return self._is_over and self._task is not None and self._task.uncancel() <= 0
