"""User messages and their validation, and the removal of characters that databases can't store."""

import math
import re
from dataclasses import dataclass

from app.errors import InvalidInput
from app.services.secrets.redaction import JSONValue

TEXT_MAX_LENGTH = 100_000
MAX_IMAGES = 10
MAX_ATTACHMENTS = 10
IMAGE_URL_MAX_LENGTH = 2_000
IMAGE_DATA_MAX_LENGTH = 5 * 1024 * 1024

MAX_JSON_DEPTH = 50
MAX_NUMBER_CHARS = 400
_INTEGER_BITS = 63
_FLOAT_BITS = 1024
_DATA_URL = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AttachmentChoice:
    """A file that a message names: either one of the workspace, or an upload by its id."""

    path: str | None = None
    upload_id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A user's message, which is not validated until ``check`` is called."""

    text: str
    image_urls: tuple[str, ...] = ()
    attachments: tuple[AttachmentChoice, ...] = ()

    def check(self, *path: str, max_length: int = TEXT_MAX_LENGTH) -> None:
        """Raise InvalidInput if the message is empty or exceeds a limit. ``path`` is its place in the input."""
        if not self.text.strip() and not self.image_urls and not self.attachments:
            message = "A message needs a text, an image or an attachment."
            raise InvalidInput(message, path=(*path, "text"))
        if len(self.text) > max_length:
            message = f"A message has at most {max_length} characters; this one has {len(self.text)}."
            raise InvalidInput(message, path=(*path, "text"))
        check_storable(self.text, *path, "text")
        if len(self.image_urls) > MAX_IMAGES:
            message = f"A message has at most {MAX_IMAGES} images; this one has {len(self.image_urls)}."
            raise InvalidInput(message, path=(*path, "imageUrls"))
        if len(self.attachments) > MAX_ATTACHMENTS:
            message = f"A message has at most {MAX_ATTACHMENTS} attachments."
            raise InvalidInput(message, path=(*path, "attachments"))
        for number, url in enumerate(self.image_urls):
            check_image_url(url, *path, "imageUrls", str(number))


def is_storable(text: str) -> bool:
    """Tell whether a database can store the text: PostgreSQL refuses NUL, and UTF-8 has no lone surrogates."""
    return "\x00" not in text and _is_unicode(text)


def check_storable(text: str, *path: str) -> None:
    """Raise InvalidInput for text that is not storable."""
    if not is_storable(text):
        fault = "has a null character" if _is_unicode(text) else "is not valid Unicode"
        raise InvalidInput(f"The text {fault}.", path=path)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable(text: str) -> str:
    """Remove NUL characters, join surrogate pairs, and replace lone surrogates by U+FFFD."""
    if text.isascii():
        return text.replace("\x00", "")
    return text.replace("\x00", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def storable_json(value: JSONValue) -> JSONValue:
    """Copy a JSON value so that every database can store it and every JSON parser can read it.

    Strings and keys are made storable; integers beyond 64 bits become floats, and infinite or NaN ones become text.
    Raises RecursionError if the value nests deeper than ``MAX_JSON_DEPTH``.
    """
    return _storable_json(value, 0)


def _storable_json(value: JSONValue, depth: int) -> JSONValue:
    if depth > MAX_JSON_DEPTH:
        raise RecursionError
    match value:
        case str():
            return storable(value)
        case list():
            return [_storable_json(item, depth + 1) for item in value]
        case dict():
            return {storable(key): _storable_json(item, depth + 1) for key, item in value.items()}
        case bool():
            return value
        case int() if value.bit_length() > _INTEGER_BITS:
            return float(value) if value.bit_length() < _FLOAT_BITS else hex(value)[:MAX_NUMBER_CHARS]
        case float() if not math.isfinite(value):
            return str(value)
        case _:
            return value


def check_image_url(url: str, *path: str) -> None:
    """Raise InvalidInput unless it is an https URL, or a data URL of an image, of a length that is allowed."""
    if url.startswith("data:"):
        if len(url) > IMAGE_DATA_MAX_LENGTH:
            message = f"An image has at most {IMAGE_DATA_MAX_LENGTH} characters as a data URL."
            raise InvalidInput(message, path=path)
        if not _DATA_URL.fullmatch(url):
            message = "A data URL of an image is base64 and of the type png, jpeg, gif or webp."
            raise InvalidInput(message, path=path)
    elif not url.startswith("https://") or len(url) > IMAGE_URL_MAX_LENGTH or not url.isprintable() or " " in url:
        message = f"An image is an https or data URL; an https URL has at most {IMAGE_URL_MAX_LENGTH} characters."
        raise InvalidInput(message, path=path)
