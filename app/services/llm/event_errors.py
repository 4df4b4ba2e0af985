"""Recognises errors within a stream, which servers send in many formats after a status of 200."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import cast

from app.services.llm.lenient_json import JSON, encoded

MAX_ERROR_CHARS = 4_000
_MESSAGES = ("message", "detail", "msg", "error_msg", "errmsg", "status_msg")
_KINDS = ("type", "code", "status")


def error_of(event: JSON, *, is_named: bool = False, is_alone: bool = False) -> JSON | None:
    """Return an event's error in OpenAI's format, if it is an error in another format; else ``None``.

    ``is_named``: the event's name says that it is an error. ``is_alone``: it is the server's whole response.
    """
    choices = event.get("choices")
    if isinstance(choices, list) and choices:
        first = cast("list[object]", choices)[0]
        told = cast("JSON", first).get("error") if isinstance(first, dict) else None
        return _unavailable(cast("JSON", told)) if isinstance(told, dict) and told else None
    if is_named or event.get("object") == "error" or event.get("type") == "error":
        return _unavailable(event)
    inner = event.get("base_resp")
    if isinstance(inner, dict) and cast("JSON", inner).get("status_code"):
        return _unavailable(cast("JSON", inner))
    if not _message_of(event):
        return None
    has_failed = event.get("success") is False or any(_is_failure(event.get(name)) for name in ("code", "status"))
    return _unavailable(event) if is_alone or has_failed or event.keys() == {"detail"} else None


def short_error(error: object) -> JSON:
    """Reduce an error to its type and the beginning of its message, since litellm searches it in quadratic time."""
    fields = cast("JSON", error) if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    text = message if isinstance(message, str) else encoded({"": message or fields})[4:].decode()
    kinds = {name: value for name in _KINDS if isinstance(value := fields.get(name), str | int)}
    return {"message": text[:MAX_ERROR_CHARS], **{name: str(value)[:100] for name, value in kinds.items()}}


def _unavailable(fields: Mapping[str, object]) -> JSON:
    """Convert an error to OpenAI's format; without a status of its own it counts as 503."""
    code = fields.get("code")
    kinds = {name: str(fields[name])[:100] for name in _KINDS if isinstance(fields.get(name), str)}
    error = {"message": _message_of(fields)[:MAX_ERROR_CHARS], **kinds}
    return {**error, "code": code if _is_failure(code) else HTTPStatus.SERVICE_UNAVAILABLE.value}


def _message_of(fields: Mapping[str, object]) -> str:
    messages = [fields[name] for name in _MESSAGES if fields.get(name)]
    # FastAPI's validation errors are a list.
    values = cast("Sequence[object]", messages[0]) if messages and isinstance(messages[0], list) else messages
    message = values[0] if values else ""
    if isinstance(message, dict):
        return _message_of(cast("JSON", message))
    return message if isinstance(message, str) else ""


def _is_failure(code: object) -> bool:
    return type(code) is int and HTTPStatus.BAD_REQUEST <= code < 600  # noqa: PLR2004  No status is beyond it.
