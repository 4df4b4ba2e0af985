"""The endpoint ``/graphql``: operations by POST, and queries also by GET."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, cast

from graphql import GraphQLError
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app.config import Config
from app.context import Context, Services
from app.endpoints.admission import Admission, TooMany
from app.endpoints.connections import trust
from app.endpoints.graphql.documents import DocumentRefused, Documents
from app.endpoints.graphql.json_text import JSONTexts
from app.endpoints.graphql.negotiation import JSON_TYPE, RESPONSE_TYPE, Acceptable
from app.endpoints.graphql.request import BodyLimits, Parameters, Refused, is_get, read_parameters
from app.endpoints.graphql.stream import FRAMINGS, Results, StreamResponse
from app.endpoints.guard import HEADERS
from app.endpoints.headers import headers_of
from app.errors import Unauthenticated
from app.graphql.masking import NO_DOCUMENT, OPERATION_NOT_RESOLVED, TIMED_OUT, UNKNOWN_OPERATION
from app.graphql.schema import Schema
from app.json_encoding import encode
from app.services.auth.authenticator import Authenticator, Caller

NOT_STREAMED = (
    "Subscriptions are served at this address over WebSocket (graphql-transport-ws), as server-sent events "
    "(Accept: text/event-stream), and as Apollo's multipart (Accept: multipart/mixed;subscriptionSpec=1.0)."
)
NOT_ACCEPTABLE = (
    "A response is application/graphql-response+json or application/json; results that are streamed are "
    "text/event-stream or multipart/mixed;subscriptionSpec=1.0. The Accept header names none of them."
)


# Headers of single results, as opposed to streams.
_FIELDS = {
    name: [(b"content-type", f"{name}; charset=utf-8".encode()), (b"cache-control", b"no-store"), *HEADERS]
    for name in (JSON_TYPE, RESPONSE_TYPE)
}
_BY_GET = frozenset({OperationType.QUERY})
_BY_POST = frozenset({OperationType.QUERY, OperationType.MUTATION})


class GraphQLEndpoint:
    """Executes operations. Subscriptions, and other operations if the client prefers so, get a streamed response."""

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
        self._limits = BodyLimits(config.max_body_bytes, texts)
        self._admission = admission
        self._documents = documents
        self._schema = schema
        self._services = services
        self._authenticator = authenticator
        self.ending = asyncio.Event()
        """Set when the server shuts down; streamed responses then end, or it would wait for them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. A refused one gets a response with GraphQL errors."""
        acceptable = Acceptable.read(headers_of(scope).text(b"accept", "") or "")
        try:
            if acceptable.single is None and acceptable.stream is None:
                raise Refused(406, NOT_ACCEPTABLE, code="NOT_ACCEPTABLE")  # noqa: TRY301  It is answered as all others are.
            # Before the body is read and parsed, which costs a hundred times as much.
            caller = await self._authenticate(scope)
            trust(scope)
            self._admission.request(caller)
            held = self._admission.body()
            try:
                parameters = await read_parameters(scope, receive, self._limits, held)
            finally:
                held.release()
            response = await self._answer(scope, parameters, acceptable, caller)
        except TooMany as error:
            headers = {"Retry-After": str(error.retry_after)}
            refused = Refused(429, error.message, headers=headers, extensions=error.extensions)
            response = _refuse(refused, acceptable.single or JSON_TYPE)
        except Refused as refused:
            response = _refuse(refused, acceptable.single or JSON_TYPE)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, parameters: Parameters, acceptable: Acceptable, caller: Caller) -> ASGIApp:
        document = self._document(parameters, acceptable)
        try:
            result = await self._execute(scope, parameters, document, caller)
        except InvalidOperationTypeError as error:
            if error.operation_type is not OperationType.SUBSCRIPTION:
                raise _wrong_method(error.operation_type, scope["method"]) from None
            if acceptable.stream is None:
                raise Refused(400, NOT_STREAMED) from None
            return self._stream(self._subscribe(parameters, document, caller), acceptable.stream, caller)
        if acceptable.single is None and acceptable.stream is not None:
            return self._stream(_single(result), acceptable.stream, caller)
        media_type = acceptable.single or JSON_TYPE
        return _respond(_body(result), _status(result, media_type), media_type)

    def _document(self, parameters: Parameters, acceptable: Acceptable) -> str:
        try:
            document = self._documents.resolve(parameters.query, parameters.document_id, parameters.extensions)
        except DocumentRefused as error:
            status = 400 if acceptable.single == RESPONSE_TYPE or error.code == "BAD_REQUEST" else 200
            raise Refused(status, error.message, code=error.code) from None
        if document is None or not document.strip():
            raise Refused(400, NO_DOCUMENT)
        return document

    async def _authenticate(self, scope: Scope) -> Caller:
        try:
            return await self._authenticator.authenticate_header(headers_of(scope).get(b"authorization"))
        except Unauthenticated as error:
            self._admission.stranger(scope.get("client"), headers_of(scope))
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Refused(401, error.message, code="UNAUTHENTICATED", headers=challenge) from None

    async def _execute(self, scope: Scope, parameters: Parameters, document: str, caller: Caller) -> ExecutionResult:
        """Execute an operation. Raises InvalidOperationTypeError for a subscription, and for a mutation by GET."""
        try:
            return await self._schema.execute(
                document,
                variable_values=parameters.variables,
                context_value=Context(self._services, caller),
                operation_name=parameters.operation_name,
                allowed_operation_types=_BY_GET if is_get(scope) else _BY_POST,
            )
        except CannotGetOperationTypeError:
            raise Refused(400, UNKNOWN_OPERATION, code=OPERATION_NOT_RESOLVED) from None
        except MissingQueryError:
            raise Refused(400, NO_DOCUMENT) from None

    async def _subscribe(self, parameters: Parameters, document: str, caller: Caller) -> Results:
        results = await self._schema.subscribe(
            document,
            variable_values=parameters.variables,
            context_value=Context(self._services, caller),
            operation_name=parameters.operation_name,
        )
        async with aclosing(results):
            async for result in results:
                yield _body(result)

    def _stream(self, results: Results, media_type: str, caller: Caller) -> ASGIApp:
        connection = self._admission.connection(caller)
        try:
            subscription = self._admission.subscription(caller)
        except TooMany:
            connection.leave()
            raise
        return StreamResponse(
            results,
            FRAMINGS[media_type],
            places=[connection, subscription],
            ending=self.ending,
            expires_at=caller.expires_at,
            heartbeat_seconds=self._config.heartbeat_seconds,
            send_timeout_seconds=self._config.send_timeout_seconds,
        )


def present(error: GraphQLError) -> dict[str, Any]:
    """Format an error as GraphQL's specification defines it."""
    return cast("dict[str, Any]", error.formatted)


async def _single(result: ExecutionResult) -> Results:
    yield _body(result)


def _wrong_method(operation_type: OperationType, method: str) -> Refused:
    message = f"A {operation_type.value} can't be sent by {method}."
    return Refused(405, message, code="METHOD_NOT_ALLOWED", headers={"Allow": "POST"})


def _is_request_error(result: ExecutionResult) -> bool:
    """Tell whether the document or the variables were invalid, so that nothing was executed."""
    if isinstance(result, PreExecutionError):
        return True
    return result.data is None and all(error.path is None for error in result.errors or ())


def _status(result: ExecutionResult, media_type: str) -> int:
    codes = {(error.extensions or {}).get("code") for error in result.errors or ()}
    if TIMED_OUT in codes:
        return 503
    return 400 if _is_request_error(result) and media_type == RESPONSE_TYPE else 200


def _body(result: ExecutionResult) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [present(error) for error in result.errors]
    if not _is_request_error(result):
        body["data"] = result.data
    return body


def _refuse(refused: Refused, media_type: str) -> ASGIApp:
    error = {"message": refused.message, "extensions": refused.extensions}
    return _respond({"errors": [error]}, refused.status, media_type, refused.headers)


def _respond(body: dict[str, Any], status: int, media_type: str, headers: Mapping[str, str] | None = None) -> ASGIApp:
    return _send(encode(body), status, media_type, headers)


def _send(content: bytes, status: int, media_type: str, headers: Mapping[str, str] | None = None) -> ASGIApp:
    fields = [(b"content-length", b"%d" % len(content)), *_FIELDS[media_type]]
    if headers:
        fields += [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def respond(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": content})

    return respond
