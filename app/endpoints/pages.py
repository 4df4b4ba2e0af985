"""The static pages in the package: the playground at ``/``, and the front end at ``/app``."""

from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

# Size of chunks. For a client that does not read, one chunk is buffered here, and one in the connection.
PIECE_BYTES = 16 * 1024
STATIC = Path(__file__).parent.parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "img-src 'self' data:; connect-src 'self'; worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)


@dataclass(frozen=True, slots=True)
class StaticPage:
    """A page, with its paths and the assets that vite built for it."""

    addresses: tuple[str, ...]
    assets: str
    directory: Path

    async def __call__(self, _request: Request) -> Response:
        """Serve the page with ``no-cache``, so that browsers see a new release at once."""
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        return FileResponse(self.directory / "index.html", headers=headers, media_type="text/html; charset=utf-8")

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the page and its assets."""
        assets = Mount(self.assets, _Assets(directory=self.directory / "assets"))
        return [*(Route(address, self.__call__) for address in self.addresses), assets]


class _Assets(StaticFiles):
    """Files with a content hash in their names, so they can be cached for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if isinstance(response, FileResponse):
            response.chunk_size = PIECE_BYTES
        if response.status_code == 200:  # noqa: PLR2004  OK.
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
            response.headers["Content-Security-Policy"] = POLICY
        return response


PLAYGROUND = StaticPage(("/",), "/playground/assets", STATIC / "playground")
WEB = StaticPage(("/app", "/app/"), "/app/assets", STATIC / "web")


def routes() -> list[BaseRoute]:
    """Return the routes of all pages."""
    return [*PLAYGROUND.routes(), *WEB.routes()]
