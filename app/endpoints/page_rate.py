"""A rate limit for each address on pages and other requests that need no token, except health checks."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.endpoints.admission import Admission, TooMany
from app.endpoints.headers import headers_of
from app.errors import Unauthenticated
from app.services.auth.authenticator import Authenticator

HEALTH = frozenset({"/health/live", "/health/ready"})


class PageRate:
    """Middleware that answers 429 above the limit. A request with a valid token counts for its caller instead."""

    def __init__(self, app: ASGIApp, admission: Admission, authenticator: Authenticator) -> None:
        self._app = app
        self._admission = admission
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429."""
        if scope["type"] == "http" and scope["path"] not in HEALTH:
            try:
                await self._count(scope)
            except TooMany as error:
                body = {"errors": [{"message": error.message, "extensions": error.extensions}]}
                headers = {"Retry-After": str(error.retry_after), "Cache-Control": "no-store"}
                await JSONResponse(body, 429, headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _count(self, scope: Scope) -> None:
        headers = headers_of(scope)
        try:
            self._admission.page(scope.get("client"), headers)
        except TooMany:
            # The token is only checked now, since that costs more than serving most pages.
            try:
                caller = await self._authenticator.authenticate_header(headers.get(b"authorization"))
            except Unauthenticated:
                caller = None
            if caller is None:
                raise
            self._admission.request(caller)
