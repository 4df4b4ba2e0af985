"""Middleware for every request: checks ``Host`` and ``Origin``, and adds security headers to the response."""

from urllib.parse import urlsplit

import structlog
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import AuthMode, Config, is_loopback
from app.endpoints.headers import Headers, headers_of
from app.logs import new_reference_id

log = structlog.get_logger(__name__)

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
DEFAULT_POLICY = "default-src 'none'; frame-ancestors 'none'"

HEADERS = [
    (name.lower().encode(), value.encode())
    for name, value in {**SECURITY_HEADERS, "Content-Security-Policy": DEFAULT_POLICY}.items()
]


class Guard:
    """Refuses requests that a foreign web page sends through a user's browser.

    Without bearer tokens, a page of any site could otherwise use the server on the same machine: by a cross-site
    request (detected by ``Origin``), or by DNS rebinding of its own name to 127.0.0.1 (detected by ``Host``).
    """

    def __init__(self, app: ASGIApp, config: Config) -> None:
        self._app = app
        self._is_local = config.auth is AuthMode.NONE
        self._origins = frozenset(origin.lower().rstrip("/") for origin in config.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 403 (421 for a foreign host name)."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(headers_of(scope))
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                given = message["headers"]
                if HEADERS[0] not in given:
                    names = {name for name, _ in given}
                    message["headers"] = [*given, *(header for header in HEADERS if header[0] not in names)]
            await send(message)

        if refusal is None:
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception:  # Whatever a request fails with, its client gets an answer that says nothing of it.
                if scope["type"] == "websocket" or has_begun:
                    raise
                reference = new_reference_id()
                log.exception("http.unexpected_error", reference=reference, path=scope["path"])
                extensions = {"code": "INTERNAL_ERROR", "reference": reference}
                body = {"errors": [{"message": "An unexpected error occurred.", "extensions": extensions}]}
                await JSONResponse(body, 500)(scope, receive, send_with_headers)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            status, reason = refusal
            body = {"errors": [{"message": reason, "extensions": {"code": "FORBIDDEN"}}]}
            await JSONResponse(body, status)(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        host = headers.text(b"host", "") or ""
        if self._is_local and not _is_local_name(host):
            return 421, "Without bearer tokens the server answers to local names only."
        origin = headers.text(b"origin")
        if origin is not None:
            if origin.lower() in self._origins or _same_host(origin, host):
                return None
            return 403, "This origin may not call the server: see PARLEY_ALLOWED_ORIGINS."
        if headers.get(b"sec-fetch-site") == b"cross-site" and headers.get(b"sec-fetch-mode") != b"navigate":
            return 403, "Other sites may not call the server."
        return None


def _same_host(origin: str, host: str) -> bool:
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _is_local_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)
