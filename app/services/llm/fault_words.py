"""Extracts a readable sentence from the error message of a model's server or of the library.

Error messages may be HTML pages, bytes, JSON in bytes, reprs of Python objects or megabytes of one character. Only the
beginning is read, so the time is bounded.
"""

import ast
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

MAX_READ_CHARS = 8_000
MAX_TITLE_CHARS = 200
_MAX_WRAPPINGS = 8
_MAX_VALUES = 200
# Fields in which servers put messages, in order of preference.
_MESSAGE_NAMES = ("message", "detail", "error_description", "msg", "error_message", "title", "reason", "description")
_QUOTED_NAMES = (*_MESSAGE_NAMES, "error")
_HOLDER_NAMES = ("error", "errors", "details", "metadata", "raw", "body", "response")
# Marks after which the library writes about itself, or dumps values.
_MARKS = (
    *("Traceback (most recent", "This looks like a bug in", "Received Model Group", "Available Model Group"),
    *("LiteLLM Retried", "Original exception", "original response", "Original response", "Raw response"),
    *("For further information visit", "For more information check", "errors.pydantic.dev", "https://docs.litellm"),
    *("Chunk=", "chunk=", "Chunk:", "chunk:", "Received=", "received=", "input_value=", "<class '", " object at 0x"),
    *("Handle with `", "litellm.", ", Metadata: {"),
)
_PREFIX = re.compile(
    r"(?:litellm\.)?\w{0,80}(?:Error|Exception)(?:\s{1,4}\w{1,80}Error)?\s{0,4}[:-]\s{0,4}"
    r"|Error code: \d{3}(?:\s{0,4}-\s{0,4}|$)|(?:Error|Message|litellm(?:\.\w{1,80})?): "
)
_REPRESENTATION = re.compile(
    r"""\b[A-Za-z]\w{1,80}\(\w{1,40}=|\bb'|\bb"|[{\[]{1,4}\s{0,4}["']|[{\[]\s{0,4}[{\[]|^["{\[]"""
)
_QUOTED = re.compile(
    rf"""["'](?:{"|".join(_QUOTED_NAMES)})["']\s{{0,9}}:\s{{0,9}}(?:"((?:[^"\\]|\\.)*+)|'((?:[^'\\]|\\.)*+))""",
    re.DOTALL,
)
# The library's own messages about a response that it could not parse, without the server's message.
_OWN_WORDS = re.compile(r"\d{1,6} validation errors? for |'?\w{1,80}'?, Got unexpected response from ")
_MARKUP = ("<html", "<!doctype", "<head", "<body", "<?xml", "</")
_WORD = re.compile(r"[^\W_]{2}")
# Literals of JSON and Python that are not messages.
_NOTHING = ("null", "none", "true", "false")
_ESCAPED = re.compile(r"\\x[0-9a-f]{2}", re.IGNORECASE)
# A text is not shown if more than one in this many characters is unreadable.
_UNREADABLE_SHARE = 20


def sentence_of(body: object) -> str:
    """Return a readable line without reprs, markup or control characters; "" if there is none."""
    for text in _texts(body):
        sentence = _readable(_unwrapped(text))
        if sentence:
            return sentence
    return ""


def _texts(body: object) -> Iterator[str]:
    """Yield the texts in a body that may be its message, the most likely first."""
    waiting: deque[object] = deque([body])
    for _ in range(_MAX_VALUES):
        if not waiting:
            return
        value = waiting.popleft()
        if isinstance(value, bytes | bytearray):
            value = bytes(value[:MAX_READ_CHARS]).decode(errors="replace")
        if isinstance(value, str):
            yield value[:MAX_READ_CHARS]
        elif isinstance(value, Mapping):
            fields = cast("Mapping[object, object]", value)
            messages = [fields[name] for name in _MESSAGE_NAMES if fields.get(name)]
            waiting.extendleft(reversed([*messages, *(fields[name] for name in _HOLDER_NAMES if fields.get(name))]))
        elif isinstance(value, Sequence):
            waiting.extendleft(reversed(cast("Sequence[object]", value)[:_MAX_VALUES]))


def _unwrapped(text: str) -> str:
    for _ in range(_MAX_WRAPPINGS):
        inner = _inner(text).strip()
        if inner == text:
            break
        text = inner
    return text


def _inner(text: str) -> str:
    """Remove the outermost wrapping of a text, such as an exception's name."""
    text = text.strip()
    prefix = _PREFIX.match(text)
    if prefix:
        return text[prefix.end() :]
    ends = [end for mark in _MARKS if (end := text.find(mark)) >= 0]
    if ends:
        return text[: min(ends)].rstrip(" \n\t:-,([{'\"")
    if _OWN_WORDS.match(text):
        return ""
    folded = text.casefold()
    if any(tag in folded for tag in _MARKUP):
        return _title(text)
    shown = _REPRESENTATION.search(text)
    if shown is None:
        return text
    message = _message_in(text[shown.start() :])
    return message or text[: shown.start()].rstrip(" \n\t:-,([{'\"")


def _message_in(shown: str) -> str:
    """Return the message in JSON or a Python repr; "" if there is none."""
    value = _parsed(shown)
    if isinstance(value, bytes):
        # The bytes may be JSON or HTML, which the caller unwraps next.
        return value.decode(errors="replace")
    message = next(_texts(cast("object", value)), "") if isinstance(value, str | dict | list) else ""
    if message:
        return message
    # A value that is cut off, or followed by more text, can't be parsed as a whole.
    quoted = _QUOTED.search(shown)
    if quoted is not None:
        return (quoted[1] or quoted[2] or "").replace('\\"', '"').replace("\\n", " ")
    if shown.startswith(("b'", 'b"')):
        return re.sub(r"['\"]\.?$", "", shown[2:])
    return ""


def _parsed(shown: str) -> object:
    try:
        return json.loads(shown)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(shown)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _title(page: str) -> str:
    folded = page.casefold()
    start = folded.find(">", folded.find("<title") + 1) + 1 if "<title" in folded else 0
    end = folded.find("</title", start) if start else -1
    title = page[start:end][:MAX_TITLE_CHARS] if end > start else ""
    return "" if "<" in title else title


def _readable(text: str) -> str:
    kept = "".join(character for character in text if character.isprintable() or character.isspace())
    kept = kept.replace("\N{REPLACEMENT CHARACTER}", "")
    lost = len(text) - len(kept) + len(_ESCAPED.findall(kept))
    if lost * _UNREADABLE_SHARE > len(text):
        return ""
    sentence = " ".join(kept.split())
    is_said = _WORD.search(sentence) and sentence.casefold().strip("'\".") not in _NOTHING
    return sentence if is_said else ""
