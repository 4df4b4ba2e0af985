"""Whether the server lives, and whether it can work."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 2.0
Checks = Mapping[str, Callable[[], Awaitable[None]]]


async def live(_request: Request) -> JSONResponse:
    """``GET /health/live``: the process answers."""
    return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


class Ready:
    """``GET /health/ready``: every part that is needed has answered just now, else 503 with the ones that have not."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks

    async def __call__(self, _request: Request) -> JSONResponse:
        """Ask all of them at once, each for up to 2 s."""
        answers = await asyncio.gather(*(self._ask(name) for name in self._checks))
        checks = dict(zip(self._checks, ("ok" if answer else "failed" for answer in answers), strict=True))
        is_ready = all(answers)
        body = {"status": "ok" if is_ready else "failed", "checks": checks}
        return JSONResponse(body, 200 if is_ready else 503, {"Cache-Control": "no-store"})

    async def _ask(self, name: str) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._checks[name]()
        except Exception as error:  # noqa: BLE001  Whatever a part fails with, it is not ready.
            log.warning("health.failed", check=name, error=type(error).__name__)
            return False
        return True
