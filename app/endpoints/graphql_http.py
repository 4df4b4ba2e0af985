"""``POST /graphql``, and ``GET`` for queries."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any, cast

import orjson
from graphql import GraphQLError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app.context import Context, Services
from app.errors import Unauthenticated
from app.graphql import NO_DOCUMENT, UNKNOWN_OPERATION, Schema
from app.services.auth import Authenticator, bearer_token

JSON_TYPE = "application/json"
RESPONSE_TYPE = "application/graphql-response+json"
_WEIGHT = re.compile(r"[01](\.[0-9]{0,3})?")


class Refused(Exception):
    """The request is answered with a status and one error, and nothing is executed."""

    def __init__(
        self, status: int, message: str, *, code: str = "BAD_REQUEST", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a request asks for."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None


class GraphQLEndpoint:
    """Executes queries and mutations; subscriptions go over WebSocket."""

    def __init__(
        self, schema: Schema, services: Services, authenticator: Authenticator, *, max_body_bytes: int
    ) -> None:
        self._schema = schema
        self._services = services
        self._authenticator = authenticator
        self._max_body_bytes = max_body_bytes

    async def __call__(self, request: Request) -> Response:
        """Answer; every refusal is a response in the shape of GraphQL."""
        media_type = _media_type(request.headers.get("accept", ""))
        try:
            parameters = await self._parameters(request)
            return await self._execute(request, parameters, media_type)
        except Refused as refused:
            error = {"message": refused.message, "extensions": {"code": refused.code}}
            return _respond({"errors": [error]}, refused.status, media_type, refused.headers)

    async def _execute(self, request: Request, parameters: Parameters, media_type: str) -> Response:
        try:
            caller = await self._authenticator.authenticate(bearer_token(request.headers.get("authorization")))
        except Unauthenticated as error:
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Refused(401, error.message, code="UNAUTHENTICATED", headers=challenge) from None
        allowed = {OperationType.QUERY} if _is_get(request) else {OperationType.QUERY, OperationType.MUTATION}
        try:
            result = await self._schema.execute(
                parameters.query,
                variable_values=parameters.variables,
                context_value=Context(self._services, caller),
                operation_name=parameters.operation_name,
                allowed_operation_types=allowed,
            )
        except InvalidOperationTypeError as error:
            raise _wrong_operation(error, request.method) from None
        except CannotGetOperationTypeError:
            raise Refused(400, UNKNOWN_OPERATION) from None
        except MissingQueryError:
            raise Refused(400, NO_DOCUMENT) from None
        status = 400 if _is_request_error(result) and media_type == RESPONSE_TYPE else 200
        return _respond(_body(result), status, media_type)

    async def _parameters(self, request: Request) -> Parameters:
        if _is_get(request):
            return _from_query(request)
        if not _is_json(request.headers.get("content-type", "")):
            raise Refused(
                415, f"The Content-Type of a request is {JSON_TYPE}, in UTF-8.", code="UNSUPPORTED_MEDIA_TYPE"
            )
        try:
            body = _parse_json((await self._read(request)).decode())
        except UnicodeDecodeError:
            raise Refused(400, "The body is not UTF-8.") from None
        except (ValueError, RecursionError):
            raise Refused(400, "The body is not JSON.") from None
        if not isinstance(body, dict):
            raise Refused(400, "The body is a JSON object with the document in `query`.")
        return _checked(cast("dict[str, object]", body))

    async def _read(self, request: Request) -> bytes:
        too_large = Refused(413, f"A request has at most {self._max_body_bytes} bytes.", code="PAYLOAD_TOO_LARGE")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_body_bytes:
            raise too_large
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > self._max_body_bytes:
                    raise too_large
        except ClientDisconnect:
            raise Refused(400, "The request was cut off.") from None
        return bytes(body)


def present(error: GraphQLError) -> dict[str, Any]:
    """An error as the specification has it."""
    return cast("dict[str, Any]", error.formatted)


def _from_query(request: Request) -> Parameters:
    given: dict[str, object] = dict(request.query_params)
    for name in ("variables", "extensions"):
        try:
            given[name] = _parse_json(str(given.get(name, "")) or "null")
        except (ValueError, RecursionError):
            raise Refused(400, f"`{name}` is not JSON.") from None
    return _checked(given)


def _checked(given: dict[str, object]) -> Parameters:
    query, variables, operation_name = given.get("query"), given.get("variables"), given.get("operationName")
    if not isinstance(query, str) or not query.strip():
        raise Refused(400, NO_DOCUMENT)
    if variables is not None and not isinstance(variables, dict):
        raise Refused(400, "`variables` is an object.")
    if operation_name is not None and not isinstance(operation_name, str):
        raise Refused(400, "`operationName` is a string.")
    if not isinstance(given.get("extensions"), dict | None):
        raise Refused(400, "`extensions` is an object.")
    return Parameters(query, cast("dict[str, Any] | None", variables), operation_name or None)


def _wrong_operation(error: InvalidOperationTypeError, method: str) -> Refused:
    if error.operation_type is OperationType.SUBSCRIPTION:
        return Refused(400, "Subscriptions are served over WebSocket (graphql-transport-ws) at this address.")
    message = f"A {error.operation_type.value} can't be sent by {method}."
    return Refused(405, message, code="METHOD_NOT_ALLOWED", headers={"Allow": "POST"})


def _is_get(request: Request) -> bool:
    return request.method in {"GET", "HEAD"}


def _is_json(content_type: str) -> bool:
    message = Message()
    message["Content-Type"] = content_type
    charset = message.get_content_charset("utf-8")
    return content_type.partition(";")[0].strip().lower() == JSON_TYPE and charset in {"utf-8", "utf8"}


def _parse_json(text: str) -> object:
    """Raise ValueError for what is not JSON, such as NaN, which Python would take."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _media_type(accept: str) -> str:
    """The response's type: the newer one where the client names it and doesn't rank JSON before it, else JSON."""
    ranks = {JSON_TYPE: 0.0, RESPONSE_TYPE: 0.0}
    for item in accept.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name in ranks:
            weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
            ranks[name] = float(weight) if _WEIGHT.fullmatch(weight) else 1.0
    return RESPONSE_TYPE if ranks[RESPONSE_TYPE] > 0 and ranks[RESPONSE_TYPE] >= ranks[JSON_TYPE] else JSON_TYPE


def _is_request_error(result: ExecutionResult) -> bool:
    """Whether nothing was executed: the document or the variables are at fault."""
    if isinstance(result, PreExecutionError):
        return True
    return result.data is None and all(error.path is None for error in result.errors or ())


def _body(result: ExecutionResult) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [present(error) for error in result.errors]
    if not _is_request_error(result):
        body["data"] = result.data
    return body


def _respond(body: dict[str, Any], status: int, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        encode(body), status, {"Cache-Control": "no-store", **(headers or {})}, f"{media_type}; charset=utf-8"
    )


def encode(body: object) -> bytes:
    """JSON. The standard library steps in for what orjson refuses: integers over 64 bits and halves of surrogates."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body).encode()
