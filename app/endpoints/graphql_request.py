"""What a GraphQL request over HTTP asks for, read from its address or its body."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any, cast

from starlette.requests import ClientDisconnect, Request

from app.endpoints.negotiation import JSON_TYPE
from app.masking import NO_DOCUMENT


class Refused(Exception):
    """The request is answered with a status and one error, and nothing is executed."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "BAD_REQUEST",
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}
        self.extensions = {"code": code, **(extensions or {})}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a request asks for. ``document_id`` and ``extensions`` may name a document where there is no ``query``."""

    query: str | None
    variables: dict[str, Any] | None
    operation_name: str | None
    document_id: object = None
    extensions: object = None


async def read_parameters(request: Request, max_body_bytes: int) -> Parameters:
    """Read and check what a request asks for. Raises Refused."""
    if is_get(request):
        return _from_query(request)
    if not _is_json(request.headers.get("content-type", "")):
        raise Refused(415, f"The Content-Type of a request is {JSON_TYPE}, in UTF-8.", code="UNSUPPORTED_MEDIA_TYPE")
    try:
        body = _parse_json((await _read(request, max_body_bytes)).decode())
    except UnicodeDecodeError:
        raise Refused(400, "The body is not UTF-8.") from None
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise Refused(400, "The body is a JSON object with the document in `query`.")
    return _checked(cast("dict[str, object]", body))


def is_get(request: Request) -> bool:
    """Whether the request may not change anything."""
    return request.method in {"GET", "HEAD"}


async def _read(request: Request, max_bytes: int) -> bytes:
    too_large = Refused(413, f"A request has at most {max_bytes} bytes.", code="PAYLOAD_TOO_LARGE")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise too_large
    except ClientDisconnect:
        raise Refused(400, "The request was cut off.") from None
    return bytes(body)


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
    if not isinstance(query, str | None):
        raise Refused(400, NO_DOCUMENT)
    if variables is not None and not isinstance(variables, dict):
        raise Refused(400, "`variables` is an object.")
    if operation_name is not None and not isinstance(operation_name, str):
        raise Refused(400, "`operationName` is a string.")
    if not isinstance(given.get("extensions"), dict | None):
        raise Refused(400, "`extensions` is an object.")
    return Parameters(
        query,
        cast("dict[str, Any] | None", variables),
        operation_name or None,
        given.get("documentId"),
        given.get("extensions"),
    )


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
