"""Retries with back-off during an outage of the database."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from app.models.database.database import is_outage

log = structlog.get_logger(__name__)

FIRST_RETRY_SECONDS = 0.25
# The longest pause between two retries, in seconds.
LAST_RETRY_SECONDS = 2.0

T = TypeVar("T")


async def until_answered(work: Callable[[], Awaitable[T]], within_seconds: float | None = None) -> T:
    """Call ``work``, and retry while the database can't be reached.

    Other exceptions are raised at once, and the outage's own after ``within_seconds`` (``None``: never). ``work`` must
    be idempotent, since a commit may have succeeded although its confirmation was lost.
    """
    loop = asyncio.get_running_loop()
    began, pause = loop.time(), FIRST_RETRY_SECONDS
    while True:
        try:
            return await work()
        except Exception as error:
            is_over = within_seconds is not None and loop.time() - began >= within_seconds
            if is_over or not is_outage(error):
                raise
            if pause == FIRST_RETRY_SECONDS:
                log.debug("database.unreachable", error=type(error).__name__)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LAST_RETRY_SECONDS)
