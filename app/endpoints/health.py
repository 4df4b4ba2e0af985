"""Health checks: liveness and readiness."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 2.0
Checks = Mapping[str, Callable[[], Awaitable[None]]]


async def live(_request: Request) -> JSONResponse:
    """``GET /health/live``: 200 as long as the process answers."""
    return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


class Ready:
    """``GET /health/ready``: 200 if every dependency answers now, else 503 with the state of each."""

    def __init__(self, checks: Checks, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._checks = checks
        self._timeout_seconds = timeout_seconds

    async def __call__(self, _request: Request) -> JSONResponse:
        """Answer with the state of each dependency."""
        answers = await self.ask()
        is_ready = all(answers.values())
        checks = {name: _word(is_well) for name, is_well in answers.items()}
        body = {"status": _word(is_ready), "checks": checks}
        return JSONResponse(body, 200 if is_ready else 503, {"Cache-Control": "no-store"})

    async def ask(self) -> dict[str, bool]:
        """Run all checks concurrently, and return which dependencies answer."""
        answers = await asyncio.gather(*(self._ask(name) for name in self._checks))
        return dict(zip(self._checks, answers, strict=True))

    async def _ask(self, name: str) -> bool:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._checks[name]()
        except Exception as error:  # noqa: BLE001  Whatever a part fails with, it is not ready.
            log.warning("health.failed", check=name, error=type(error).__name__)
            return False
        return True


def _word(is_well: bool) -> str:  # noqa: FBT001  It has no other parameter.
    return "ok" if is_well else "failed"
