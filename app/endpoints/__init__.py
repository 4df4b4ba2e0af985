"""The addresses that the server answers: GraphQL, the playground, health."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from app.config import Config
from app.context import Services
from app.endpoints import health, pages
from app.endpoints.admission import Admission
from app.endpoints.documents import Documents
from app.endpoints.graphql_http import GraphQLEndpoint
from app.endpoints.graphql_websocket import GraphQLSocket
from app.endpoints.guard import Guard
from app.graphql import Schema
from app.services.auth import Authenticator

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
    """The ASGI application. When its ``state.ending`` is set, streamed answers end."""
    admission = Admission(config)
    documents = Documents(config)
    endpoint = GraphQLEndpoint(config, schema, services, authenticator, admission=admission, documents=documents)
    socket = GraphQLSocket(config, schema, services, authenticator, admission=admission, documents=documents)
    middleware = [Middleware(Guard, config=config)]
    if config.allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.allowed_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
                max_age=PREFLIGHT_SECONDS,
            )
        )
    app = Starlette(
        routes=[
            Route("/graphql", endpoint.__call__, methods=["GET", "POST"]),
            WebSocketRoute("/graphql", socket.__call__),
            Route("/health/live", health.live),
            Route("/health/ready", health.Ready(readiness).__call__),
            *pages.routes(),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: _refusal},
        lifespan=lifespan,
    )
    app.state.ending = endpoint.ending
    # The address of a redirect would be built from the Host header, without what a proxy has in front.
    app.router.redirect_slashes = False
    return app


async def _refusal(_request: Request, error: Exception) -> Response:
    """What is answered where there is nothing, or not by this method."""
    if not isinstance(error, HTTPException):
        raise error
    code = HTTPStatus(error.status_code).name
    body = {"errors": [{"message": f"{error.detail}.", "extensions": {"code": code}}]}
    return JSONResponse(body, error.status_code, error.headers)
