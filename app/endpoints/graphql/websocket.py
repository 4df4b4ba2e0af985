"""Operations over WebSocket, by the protocol graphql-transport-ws, on top of Strawberry's handler."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import structlog
from graphql import GraphQLError
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.async_base_view import AsyncWebSocketAdapter
from strawberry.http.exceptions import NonJsonMessageReceived, NonTextMessageReceived, WebSocketDisconnected
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
    SubscribeMessage,
)
from strawberry.types.unset import UNSET, UnsetType

from app.config import Config
from app.context import Context, Services
from app.endpoints.admission import Admission, HeldBody, Place, TooMany
from app.endpoints.connections import trust
from app.endpoints.graphql.broadcast import Broadcasts, Subscriber
from app.endpoints.graphql.documents import DocumentRefused, Documents
from app.endpoints.graphql.json_text import JSONTexts
from app.endpoints.headers import headers_of
from app.endpoints.uvicorn.websocket import HELD, WRITE
from app.errors import Unauthenticated
from app.graphql.schema import Schema
from app.json_bounds import JSONBounds, TooMuchJSON
from app.json_encoding import encode
from app.services.auth.authenticator import Authenticator, bearer_token

log = structlog.get_logger(__name__)

MAX_OPERATIONS = 100
ID_MAX_LENGTH = 200
# Limit on `connection_init`, which has a token, and perhaps other fields of a client library.
EARLY_JSON = JSONBounds(items=1000, depth=20)
# The id of the operation that the current task executes, which Strawberry does not pass to ``stream``.
_operation_id: ContextVar[str] = ContextVar("operation_id")
BAD_REQUEST = 4400
FORBIDDEN = 4403
# Close codes of RFC 6455's registry, after which clients reconnect later.
TRY_AGAIN_LATER = 1013


class GraphQLSocket:
    """Accepts connections. Strawberry's handler implements the protocol; this one corrects its deviations."""

    def __init__(
        self,
        config: Config,
        schema: Schema,
        services: Services,
        authenticator: Authenticator,
        *,
        admission: Admission,
        documents: Documents,
        texts: JSONTexts,
    ) -> None:
        self._config = config
        self._services = services
        self._broadcasts = Broadcasts(schema, services)
        self.authenticator = authenticator
        self.admission = admission
        self.documents = documents
        self.texts = texts

    async def __call__(self, socket: WebSocket) -> None:
        """Serve one connection to its end."""
        if GRAPHQL_TRANSPORT_WS_PROTOCOL not in socket.scope["subprotocols"]:
            await socket.accept()
            await socket.close(4406, "Subprotocol not acceptable")
            return
        await socket.accept(GRAPHQL_TRANSPORT_WS_PROTOCOL)
        adapter = _Adapter(socket, self._config, self.texts, self.admission.body())
        operations = _Operations(self._broadcasts, adapter)
        handler = _Handler(self, adapter, operations, Context(self._services), self._config)
        handler.scope = socket.scope
        handler.header_token = socket.headers.get("authorization")
        try:
            await handler.handle()
        except asyncio.CancelledError:
            # The adapter cancels this task when the client can't be reached any more; nothing else does.
            if not adapter.is_lost:
                raise
        finally:
            handler.release()


class _NoRoom(Exception):
    """All bodies together are as large as they may be."""


class _Adapter(AsyncWebSocketAdapter):
    """Strawberry's socket adapter, with a send timeout, after which the connection is closed."""

    def __init__(self, socket: WebSocket, config: Config, texts: JSONTexts, held: HeldBody) -> None:
        self._socket = socket
        self._held = held
        self._send_timeout_seconds = config.send_timeout_seconds
        self._texts = texts
        self.is_trusted = False
        """True once a valid token was received. Messages have tighter bounds before that."""
        self._sending = asyncio.Lock()
        # ``None`` if another server than Parley's own serves the socket.
        self._write: Callable[[bytes], bool] | None = socket.scope.get("extensions", {}).get(WRITE)
        self._reader = asyncio.current_task()
        self.is_lost = False

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object]:
        """Yield the client's messages, parsed."""
        while self._socket.application_state is not WebSocketState.DISCONNECTED:
            try:
                text = await self._socket.receive_text()
            except WebSocketDisconnect:
                return
            except KeyError as error:
                raise NonTextMessageReceived from error
            try:
                message = await self._parse(text.encode())
            except _NoRoom:
                await self.close(TRY_AGAIN_LATER, "The server holds as many bodies as it can; try again.")
                return
            except TooMuchJSON as error:
                await self.close(BAD_REQUEST, error.message)
                return
            except (ValueError, RecursionError) as error:
                if not ignore_parsing_errors:
                    raise NonJsonMessageReceived from error
                continue
            yield message

    async def _parse(self, text: bytes) -> object:
        if not self.is_trusted:
            EARLY_JSON.check(text)
        if not self._held.grow(len(text)):
            raise _NoRoom
        try:
            return await self._texts.parse(text)
        finally:
            self._held.release()

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send JSON. Raises WebSocketDisconnected, also if the client is too slow."""
        await self.send(encode(message))

    def write(self, message: bytes) -> bool:
        """Send without waiting; False if that is not possible now."""
        return self._write is not None and not self._sending.locked() and self._write(message)

    async def send(self, message: bytes) -> None:
        """Send text. Raises WebSocketDisconnected, also if the client is too slow."""
        try:
            # Only one sender at a time: otherwise all operations would write at once when a slow client reads again.
            async with self._sending, asyncio.timeout(self._send_timeout_seconds):
                await self._socket.send_text(message.decode())
        except TimeoutError:
            self._give_up()
            raise WebSocketDisconnected from None
        except (WebSocketDisconnect, RuntimeError) as error:
            # Starlette raises RuntimeError if the socket was closed meanwhile.
            raise WebSocketDisconnected from error

    async def close(self, code: int, reason: str) -> None:
        """Close the connection, unless it is closed already."""
        try:
            async with asyncio.timeout(self._send_timeout_seconds):
                await self._socket.close(code, reason)
        except TimeoutError:
            self._give_up()
        except (RuntimeError, WebSocketDisconnect):
            # The connection is closed already.
            return

    def _give_up(self) -> None:
        """Abort the connection without a close frame, which the client would not read."""
        log.info("websocket.too_slow")
        if self._reader is not None and not self.is_lost:
            self.is_lost = True
            self._reader.cancel()


class _Operations:
    """Replaces the schema in Strawberry's handler, so that operations can be broadcast."""

    def __init__(self, broadcasts: Broadcasts, adapter: _Adapter) -> None:
        self._broadcasts = broadcasts
        self._adapter = adapter

    async def stream(
        self,
        query: str,
        *,
        variable_values: dict[str, object] | None,
        context_value: Context,
        operation_name: str | None,
        root_value: None,  # noqa: ARG002  Strawberry passes it.
    ) -> AsyncGenerator[object]:
        """Execute an operation; Strawberry calls this with the connection's context."""
        caller = context_value.caller
        assert caller is not None  # noqa: S101  Nothing is run before the connection is acknowledged.
        subscriber = Subscriber(self._adapter, _operation_id.get())
        return self._broadcasts.follow(subscriber, caller, query, operation_name, variable_values)


class _Handler(BaseGraphQLTransportWSHandler[Context, None]):
    """Strawberry's handler of one connection, with authentication, limits and token expiry."""

    def __init__(
        self, endpoint: GraphQLSocket, adapter: _Adapter, operations: _Operations, context: Context, config: Config
    ) -> None:
        super().__init__(
            view=cast("Any", self),
            websocket=adapter,
            context=context,
            root_value=None,
            schema=cast("Schema", operations),
            connection_init_wait_timeout=timedelta(seconds=config.websocket_init_timeout_seconds),
            max_subscriptions_per_connection=MAX_OPERATIONS,
        )
        self.scope: Scope = {}
        self.header_token: str | None = None
        self._endpoint = endpoint
        self._adapter = adapter
        self._place: Place | None = None
        self._expiry: asyncio.Task[None] | None = None

    def release(self) -> None:
        """Give back the admission place, since the connection has ended."""
        if self._place is not None:
            self._place.leave()
        if self._expiry is not None:
            self._expiry.cancel()
        # These refer to the handler, which would wait for the garbage collector with all that it has.
        self.view = cast("Any", None)
        self.connection_init_timeout_task = self._expiry = None

    async def on_ws_connect(self, context: Context) -> UnsetType:
        """Authenticate after ``connection_init``. Closes with 4403, or with 1013 for too many connections."""
        header = _authorization(context.connection_params or {})
        try:
            caller = await self._endpoint.authenticator.authenticate(bearer_token(header))
            self._place = self._endpoint.admission.connection(caller)
        except Unauthenticated:
            try:
                self._endpoint.admission.stranger(self.scope.get("client"), headers_of(self.scope))
            except TooMany as error:
                await self.websocket.close(TRY_AGAIN_LATER, error.message)
            raise ConnectionRejectionError from None
        except TooMany as error:
            await self.websocket.close(TRY_AGAIN_LATER, error.message)
            raise ConnectionRejectionError from None
        context.caller = caller
        self._adapter.is_trusted = True
        trust(self.scope)
        hold: Callable[[HeldBody], None] | None = self.scope.get("extensions", {}).get(HELD)
        if hold is not None:
            hold(self._endpoint.admission.body())
        return UNSET

    async def handle_message(self, message: Message) -> None:
        """Refuse malformed messages before Strawberry reads them."""
        if not _is_message(message):
            await self.handle_invalid_message("Failed to parse message")
            return
        await super().handle_message(message)

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        """Authenticate by the payload or the handshake's header, and schedule the token's expiry."""
        payload = cast("object", message.get("payload"))
        if payload is None or isinstance(payload, dict):
            parameters = cast("dict[str, object]", payload or {})
            if _authorization(parameters) is None and self.header_token:
                parameters = {**parameters, "authorization": self.header_token}
            message = cast("ConnectionInitMessage", {**message, "payload": parameters})
        await super().handle_connection_init(message)
        caller = self.context.caller
        if self._expiry is None and caller is not None and caller.expires_at is not None:
            self._expiry = asyncio.create_task(self._end_at(caller.expires_at))

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Answer a malformed operation with an error, instead of closing the connection for all operations."""
        payload = cast("Mapping[str, object]", message["payload"])
        is_operation = (
            isinstance(payload.get("query"), str | None)
            and any(payload.get(name) is not None for name in ("query", "documentId", "extensions"))
            and isinstance(payload.get("extensions"), dict | None)
            and isinstance(payload.get("variables"), dict | None)
            and isinstance(payload.get("operationName"), str | None)
        )
        if not is_operation:
            await self.handle_invalid_message("The payload of subscribe has a query, and variables as an object")
            return
        try:
            query = self._endpoint.documents.resolve(
                cast("str | None", payload.get("query")), payload.get("documentId"), payload.get("extensions")
            )
        except DocumentRefused as error:
            query, refusal = "", GraphQLError(error.message, extensions={"code": error.code})
            if self.connection_acknowledged and message["id"] not in self.operations:
                await self.send_message({"id": message["id"], "type": "error", "payload": [refusal.formatted]})
                return
        await super().handle_subscribe(
            cast("SubscribeMessage", {**message, "payload": {**payload, "query": query or ""}})
        )

    async def _end_at(self, moment: datetime) -> None:
        await asyncio.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
        await self.websocket.close(FORBIDDEN, "Token expired")

    async def run_operation(self, operation: Any) -> None:  # noqa: ANN401  Strawberry's own class, which it does not export.
        """Run an operation; a disconnected client is not a failure."""
        caller = self.context.caller
        assert caller is not None  # noqa: S101  Nothing is run before the connection is acknowledged.
        with suppress(WebSocketDisconnected):
            try:
                self._endpoint.admission.request(caller)
                place = self._endpoint.admission.subscription(caller)
            except TooMany as error:
                await operation.send_initial_errors([GraphQLError(error.message, extensions=error.extensions)])
                return
            _operation_id.set(operation.id)
            try:
                await super().run_operation(operation)
            finally:
                place.leave()

    async def handle_task_exception(self, error: Exception) -> None:
        """Log unexpected exceptions, but not the client's disconnect."""
        if not isinstance(error, WebSocketDisconnected):
            log.error("websocket.unexpected_error", exc_info=error)

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:  # noqa: ARG004  Strawberry passes it.
        # The protocol answers an operation that can't begin with an error message.
        return None


def _is_message(message: object) -> bool:
    if not isinstance(message, dict):
        return False
    fields = cast("dict[str, object]", message)
    kind, operation_id = fields.get("type"), fields.get("id")
    if not isinstance(kind, str):
        return False
    if kind in {"subscribe", "complete"}:
        if not isinstance(operation_id, str) or not 1 <= len(operation_id) <= ID_MAX_LENGTH:
            return False
        return kind == "complete" or isinstance(fields.get("payload"), dict)
    return True


def _authorization(parameters: Mapping[str, object]) -> str | None:
    """Return the ``Authorization`` of a payload (case-insensitive), or its bare ``token``."""
    for name, value in parameters.items():
        if isinstance(value, str):
            if name.lower() == "authorization":
                return value
            if name.lower() == "token":
                return f"Bearer {value}"
    return None
