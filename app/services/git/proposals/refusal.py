"""Errors for answers by which a provider refuses a new pull request."""

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from app.errors import AppError, ErrorCode, GitRefusal, GitScopeMissing
from app.services.git.client import HTTPAnswer
from app.services.git.rest import RESTProvider
from app.services.message import storable
from app.services.visible_text import visible

MAX_REASON_CHARS = 300
_CREATED = range(200, 300)
_NOT_ALLOWED = frozenset({403, 404})

T = TypeVar("T")


def is_created(answer: HTTPAnswer) -> bool:
    """Tell whether the answer is that of a creation."""
    return answer.status in _CREATED


def parse_refusal(shape: TypeAdapter[T], answer: HTTPAnswer) -> T | None:
    """Validate the body of a refusal; ``None`` if it has another shape, since the status alone tells enough."""
    try:
        return shape.validate_json(answer.body)
    except ValidationError:
        return None


def refusal_error(provider: RESTProvider, answer: HTTPAnswer, scopes: tuple[str, ...], reason: str) -> AppError:
    """Build the error for a refusal; ``scopes`` are what the creation needs, ``reason`` is what the provider says."""
    if answer.status in _NOT_ALLOWED:
        message = f"The token may not create pull requests here: it needs the scope {' or '.join(scopes)}."
        return GitScopeMissing(message, provider=provider.type, scopes=scopes)
    said = visible(storable(reason))[:MAX_REASON_CHARS] or f"it answered with status {answer.status}."
    return GitRefusal(f"The git host refused the pull request: {said}", code=ErrorCode.PULL_REQUEST_REFUSED)
