"""``GET /``: the playground, from files that are part of the package."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

DIRECTORY = Path(__file__).parent.parent / "static" / "playground"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "img-src 'self' data:; connect-src 'self'; worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)


async def page(_request: Request) -> Response:
    """The page. It is asked for anew each time, so that a new release shows at once."""
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return FileResponse(DIRECTORY / "index.html", headers=headers, media_type="text/html; charset=utf-8")


class _Assets(StaticFiles):
    """Files whose names carry a hash of their content, so they never change."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:  # noqa: PLR2004  OK.
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
            response.headers["Content-Security-Policy"] = POLICY
        return response


def routes() -> list[BaseRoute]:
    """The page and its assets."""
    return [Route("/", page), Mount("/playground/assets", _Assets(directory=DIRECTORY / "assets"))]
