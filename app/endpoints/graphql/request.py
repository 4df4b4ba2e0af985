"""Reads the parameters of a GraphQL request over HTTP from the query string or the body."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any, NamedTuple, cast

from starlette.requests import Request
from starlette.types import Receive, Scope

from app.endpoints.admission import HeldBody
from app.endpoints.graphql.json_text import JSONTexts, parse_text
from app.endpoints.graphql.negotiation import JSON_TYPE
from app.endpoints.headers import Headers, headers_of
from app.graphql.masking import NO_DOCUMENT
from app.json_bounds import TooMuchJSON

_JSON = JSON_TYPE.encode()
# Parsing a field takes as long as 400 bytes. Clients send up to five fields, and tools add some.
_MAX_QUERY_FIELDS = 50
_MAX_TYPE_LENGTH = 200


class Refused(Exception):
    """A refused request: it is answered with an HTTP status and one error, and nothing is executed."""

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


class Parameters(NamedTuple):
    """A request's parameters. Without ``query``, ``document_id`` or ``extensions`` may name a registered document."""

    query: str | None
    variables: dict[str, Any] | None
    operation_name: str | None
    document_id: object = None
    extensions: object = None


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The limits on a body: its size, and those on its JSON."""

    max_bytes: int
    json: JSONTexts


async def read_parameters(scope: Scope, receive: Receive, limits: BodyLimits, held: HeldBody) -> Parameters:
    """Read and validate a request's parameters. Raises Refused."""
    if is_get(scope):
        return _from_query(Request(scope, receive), limits)
    headers = headers_of(scope)
    _check_type(headers)
    body = await _read(headers, receive, limits.max_bytes, held)
    with _refusals():
        return _parameters(await limits.json.parse(body))


@contextmanager
def _refusals() -> Generator[None]:
    try:
        yield
    except TooMuchJSON as error:
        raise _too_much(error) from None
    except UnicodeDecodeError:
        raise Refused(400, "The body is not UTF-8.") from None
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not JSON.") from None


def _parameters(body: object) -> Parameters:
    if not isinstance(body, dict):
        raise Refused(400, "The body is a JSON object with the document in `query`.")
    return _checked(cast("dict[str, object]", body))


def is_get(scope: Scope) -> bool:
    """Tell whether it is a GET or HEAD request, which must not change anything."""
    return scope["method"] in {"GET", "HEAD"}


async def _read(headers: Headers, receive: Receive, max_bytes: int, held: HeldBody) -> bytes:
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size, is_more = 0, True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "The request was cut off.")
        chunk: bytes = message.get("body", b"")
        is_more = message.get("more_body", False)
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        _hold(held, len(chunk))
        if chunk:
            chunks.append(chunk)
    # Most bodies arrive as one chunk, which need not be copied.
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _hold(held: HeldBody, size: int) -> None:
    if not held.grow(size):
        message = "The server holds as many bodies as it can; try again."
        raise Refused(503, message, code="SERVICE_UNAVAILABLE", headers={"Retry-After": "1"})


def _too_large(max_bytes: int) -> Refused:
    message = f"A request has at most {max_bytes} bytes."
    return Refused(413, message, code="PAYLOAD_TOO_LARGE", extensions={"limit": max_bytes})


def _too_much(error: TooMuchJSON) -> Refused:
    return Refused(400, error.message, code=error.code, extensions={"limit": error.limit})


def _from_query(request: Request, limits: BodyLimits) -> Parameters:
    query = request.scope["query_string"]
    if query.count(b"&") >= _MAX_QUERY_FIELDS:
        raise Refused(400, f"The query of an address has at most {_MAX_QUERY_FIELDS} fields.")
    fields: dict[str, object] = dict(request.query_params)
    for name in ("variables", "extensions"):
        text = str(fields.get(name, "")) or "null"
        try:
            # A URL is short, so its JSON is always parsed at once.
            limits.json.check(text.encode(errors="replace"))
            fields[name] = parse_text(text)
        except TooMuchJSON as error:
            raise _too_much(error) from None
        except (ValueError, RecursionError):
            raise Refused(400, f"`{name}` is not JSON.") from None
    return _checked(fields)


def _checked(fields: dict[str, object]) -> Parameters:
    query, variables, operation_name = fields.get("query"), fields.get("variables"), fields.get("operationName")
    if query is not None and not isinstance(query, str):
        raise Refused(400, NO_DOCUMENT)
    if variables is not None and not isinstance(variables, dict):
        raise Refused(400, "`variables` is an object.")
    if operation_name is not None and not isinstance(operation_name, str):
        raise Refused(400, "`operationName` is a string.")
    extensions = fields.get("extensions")
    if extensions is not None and not isinstance(extensions, dict):
        raise Refused(400, "`extensions` is an object.")
    return Parameters(
        query,
        cast("dict[str, Any] | None", variables),
        operation_name or None,
        fields.get("documentId"),
        cast("object", extensions),
    )


def _check_type(headers: Headers) -> None:
    if headers.get(b"content-type") != _JSON and not _is_json(headers.text(b"content-type", "") or ""):
        raise Refused(415, f"The Content-Type of a request is {JSON_TYPE}, in UTF-8.", code="UNSUPPORTED_MEDIA_TYPE")


def _is_json(content_type: str) -> bool:
    if len(content_type) > _MAX_TYPE_LENGTH:
        return False
    message = Message()
    message["Content-Type"] = content_type
    charset = message.get_content_charset("utf-8")
    return content_type.partition(";")[0].strip().lower() == JSON_TYPE and charset in {"utf-8", "utf8"}
