"""The HTTP layer: builds the ASGI application with its endpoints for GraphQL, the playground and health checks."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config import Config
from app.context import Services
from app.endpoints import health, pages
from app.endpoints.admission import Admission
from app.endpoints.download import DownloadEndpoint
from app.endpoints.graphql.documents import Documents
from app.endpoints.graphql.http import GraphQLEndpoint
from app.endpoints.graphql.json_text import JSONTexts
from app.endpoints.graphql.websocket import GraphQLSocket
from app.endpoints.guard import Guard
from app.endpoints.page_rate import PageRate
from app.endpoints.upload import UploadEndpoint
from app.graphql.schema import Schema
from app.services.auth.authenticator import Authenticator

PREFLIGHT_SECONDS = 600


def application(
    config: Config,
    *,
    schema: Schema,
    services: Services,
    authenticator: Authenticator,
    readiness: health.Checks,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
) -> Starlette:
    """Build the ASGI application. When its ``state.ending`` is set, streamed responses end."""
    admission = Admission(config)
    documents, texts = Documents(config), JSONTexts(config)
    endpoint = GraphQLEndpoint(
        config, schema, services, authenticator, admission=admission, documents=documents, texts=texts
    )
    socket = GraphQLSocket(
        config, schema, services, authenticator, admission=admission, documents=documents, texts=texts
    )
    app = _Application(
        endpoint,
        config,
        rate=lambda app: PageRate(app, admission, authenticator),
        routes=[
            Route("/graphql", endpoint, methods=["GET", "POST"]),
            WebSocketRoute("/graphql", socket.__call__),
            Route("/health/live", health.live),
            Route("/health/ready", health.Ready(readiness).__call__),
            Route("/downloads", DownloadEndpoint(config, services.download, admission), methods=["GET"]),
            Route("/uploads", UploadEndpoint(services.upload, admission), methods=["PUT"]),
            *pages.routes(),
        ],
        exception_handlers={HTTPException: _refusal},
        lifespan=lifespan,
    )
    app.state.ending = endpoint.ending
    # A redirect's URL would be built from the Host header, without the path prefix of a proxy.
    app.router.redirect_slashes = False
    return app


class _Application(Starlette):
    """Starlette with a fast path for ``/graphql``, since its routing costs as much as a small query."""

    METHODS = frozenset({"GET", "HEAD", "POST"})

    def __init__(
        self,
        endpoint: GraphQLEndpoint,
        config: Config,
        *,
        rate: Callable[[ASGIApp], ASGIApp],
        **rest: Any,  # noqa: ANN401  As Starlette has it.
    ) -> None:
        super().__init__(**rest)
        self._graphql = Guard(_across_origins(endpoint, config), config)
        self._others = Guard(_across_origins(rate(super().__call__), config), config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if scope["type"] == "http" and scope["path"] == "/graphql" and scope["method"] in self.METHODS:
            await self._graphql(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def _across_origins(app: ASGIApp, config: Config) -> ASGIApp:
    if not config.allowed_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(config.allowed_origins),
        allow_methods=["GET", "POST", "PUT"],
        allow_headers=["Authorization", "Content-Type"],
        max_age=PREFLIGHT_SECONDS,
    )


async def _refusal(_request: Request, error: Exception) -> Response:
    """Answer 404 and 405 in the shape of a GraphQL error."""
    if not isinstance(error, HTTPException):
        raise error
    code = HTTPStatus(error.status_code).name
    body = {"errors": [{"message": f"{error.detail}.", "extensions": {"code": code}}]}
    return JSONResponse(body, error.status_code, error.headers)
