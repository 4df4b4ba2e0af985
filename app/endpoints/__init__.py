"""The addresses that the server answers: GraphQL, the playground, health."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute

from app.config import Config
from app.context import Services
from app.endpoints import health, playground
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
    """The ASGI application."""
    endpoint = GraphQLEndpoint(schema, services, authenticator, max_body_bytes=config.max_body_bytes)
    socket = GraphQLSocket(config, schema, services, authenticator)
    middleware = [Middleware(Guard, config=config)]
    if config.allowed_origins:
        middleware.insert(
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.allowed_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
                max_age=PREFLIGHT_SECONDS,
            ),
        )
    return Starlette(
        routes=[
            Route("/graphql", endpoint.__call__, methods=["GET", "POST"]),
            WebSocketRoute("/graphql", socket.__call__),
            Route("/health/live", health.live),
            Route("/health/ready", health.Ready(readiness).__call__),
            *playground.routes(),
        ],
        middleware=middleware,
        lifespan=lifespan,
    )
