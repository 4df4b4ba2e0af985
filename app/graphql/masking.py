"""Masks errors before they reach clients: secrets are removed, and unexpected errors become a log reference."""

import re

import structlog
from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from app.errors import AppError, ErrorCode
from app.graphql.limits import DEFAULT_LIMITS, Limits, brackets, exceeded
from app.logs import new_reference_id

log = structlog.get_logger(__name__)

TIMED_OUT = "REQUEST_TIMED_OUT"
# These codes are Apollo Server's, which client libraries know.
PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
OPERATION_NOT_RESOLVED = "OPERATION_RESOLUTION_FAILURE"
BAD_REQUEST = "BAD_REQUEST"
WRONG_OPERATION_TYPE = "METHOD_NOT_ALLOWED"
NO_DOCUMENT = "The request has no `query`, or it is blank."
UNKNOWN_OPERATION = "The document has no operation of that name: name one of its operations in `operationName`."

# Patterns of graphql-core's messages that repeat a refused value, which may be an API key or an object that holds one.
# A value may be megabytes that repeat a pattern's prefix, so each pattern is written to match in linear time.
_VALUES = (
    (re.compile(r", but encountered error '.*", re.DOTALL), "."),
    (re.compile(r"(,|\.( Did you mean (?:(?! Did you mean )[^?])*+\?)?) [Ff]ound: .*", re.DOTALL), r".\2"),
    (re.compile(r"(cannot represent (?:(?!cannot represent )[\w -])*value): .*", re.DOTALL), r"\1."),
    (re.compile(r"(unknown field) '(?![_A-Za-z][_0-9A-Za-z]{0,39}'[.,]).*", re.DOTALL), r"\1."),
)
_VALUE_START, _VALUE_END = "Value '", "' does not exist in"
_TOO_DEEP = "nested too deeply"
_TOO_MANY_TOKENS = re.compile(r"more than [0-9]+ tokens")
_SUGGESTION = re.compile(r" Did you mean (?:(?! Did you mean )[^?])*+\?")
_SYNTAX_VALUE = re.compile(r"\b(Name|Int|Float|String|BlockString|Comment) (\".*\"|'.*')", re.DOTALL)


class RequestTimedOut(Exception):
    """A query or mutation ran into the request timeout."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request took longer than {seconds:g} s, and was given up.")


def mask(error: GraphQLError, limits: Limits = DEFAULT_LIMITS) -> GraphQLError:
    """Return the error as the client may see it.

    An expected failure keeps its message and gets its code. A fault of the request keeps its message without the values
    in it. An unexpected error is logged, and gets a generic message with the reference id of the log entry.
    """
    original = error.original_error
    if isinstance(original, AppError):
        return _rewritten(error, original.message, {"code": original.wire_code()})
    if isinstance(original, CannotGetOperationTypeError):
        return _rewritten(error, UNKNOWN_OPERATION, {"code": OPERATION_NOT_RESOLVED})
    if isinstance(original, MissingQueryError):
        return _rewritten(error, NO_DOCUMENT, {"code": BAD_REQUEST})
    if isinstance(original, RequestTimedOut):
        return _rewritten(error, str(original), {"code": TIMED_OUT})
    if isinstance(original, GraphQLError | InvalidOperationTypeError | None) and not _is_internal(error):
        if isinstance(error, GraphQLSyntaxError) and _TOO_MANY_TOKENS.search(error.message):
            # The parser stops at the first token above the limit, so the real number is unknown.
            return exceeded("tokens", limits.tokens + 1, limits.tokens)
        if isinstance(error, GraphQLSyntaxError) and _TOO_DEEP in error.message:
            return exceeded("nesting", brackets(error.source.body if error.source else ""), limits.nesting)
        message = _without_values(error)
        if not limits.introspection:
            message = _SUGGESTION.sub("", message)
        return _rewritten(error, message, {"code": _code(error), **(error.extensions or {})})
    reference = new_reference_id()
    log.error("graphql.unexpected_error", reference=reference, path=error.path, exc_info=original or error)
    return _rewritten(error, "An unexpected error occurred.", {"code": "INTERNAL_ERROR", "reference": reference})


def _is_internal(error: GraphQLError) -> bool:
    """Tell whether a GraphQLError is about a value that a resolver returned, rather than one in the request."""
    return bool(error.path) and "code" not in (error.extensions or {}) and not error.message.startswith("Argument ")


def _code(error: GraphQLError) -> str:
    """Return a code for a fault of the request that has none. Validation errors have one already."""
    if isinstance(error, GraphQLSyntaxError):
        return PARSE_FAILED
    if isinstance(error.original_error, InvalidOperationTypeError):
        return WRONG_OPERATION_TYPE
    # In a valid document only the values of variables, and of arguments that use them, can be at fault.
    return ErrorCode.INVALID_INPUT.name


def _without_values(error: GraphQLError) -> str:
    if isinstance(error, GraphQLSyntaxError):
        return _SYNTAX_VALUE.sub(r"\1", error.message)
    message = error.message
    for pattern, replacement in _VALUES:
        message = pattern.sub(replacement, message)
    start, end = message.find(_VALUE_START), message.rfind(_VALUE_END)
    return f"{message[:start]}The value{message[end + 1 :]}" if 0 <= start < end else message


def _rewritten(error: GraphQLError, message: str, extensions: dict[str, object] | None = None) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )
