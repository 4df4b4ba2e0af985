"""Relay pagination: `PageInfo`, the encoding of keyset cursors, and the limits of `first` and `last`."""

import base64
import json
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from uuid import UUID

import strawberry

from app.execution.columns import Column, compile_texts
from app.models.conversation import Conversation
from app.models.database.row import Row, Rows
from app.models.rows.conversation import ConversationRow
from app.models.search.order import ConversationOrder, ConversationOrderField
from app.models.search.query import Position
from app.schema.rows.conversation import ORDER_COLUMNS
from app.schema.rows.layout import key_layout_of
from app.schema.scalar import invalid

MAX_FIRST = 100
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
DEFAULT_EVENTS = 50
# The cursor of a path holds up to 4,096 bytes as JSON escapes, in base64.
CURSOR_MAX_LENGTH = 40_000
# Length of a cursor's JSON when the sort key is a time with microseconds. It is a multiple of three, as base64 needs.
MOMENT_KEY_LENGTH = 84
_ENCODED_LENGTH = MOMENT_KEY_LENGTH // 3 * 4
MAX_SEQUENCE = 2**31 - 1


@strawberry.type(description="Relay page information.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="True if more follows this page.")
    has_previous_page: bool = strawberry.field(description="True if more precedes this page.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first edge; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last edge; null on an empty page.")


def check_count(name: str, value: int | None, default: int) -> int:
    """Return the page size, or the default. Raises an INVALID_INPUT error if it is not between 1 and 100."""
    if value is None:
        return default
    if not 1 <= value <= MAX_FIRST:
        raise invalid(f"`{name}` is between 1 and {MAX_FIRST}.")
    return value


def conversation_cursor(row: Conversation | ConversationRow, order: ConversationOrder) -> str:
    """Encode the keyset of a row as an opaque cursor: base64 of the order's field, the row's sort key and its id.

    If pinned conversations come first, whether it is pinned follows.
    """
    key = row.title_folded
    if order.field is ConversationOrderField.CREATED_AT:
        key = row.created_at.isoformat()
    elif order.field is ConversationOrderField.UPDATED_AT:
        key = row.updated_at.isoformat()
    pinned = [row.is_pinned] if order.pinned_first else []
    return _encode([order.field.value, key, row.id.hex, *pinned])


def row_edges(rows: Rows[ConversationRow], order: ConversationOrder) -> list[tuple[str, Row]]:
    """Pair rows with the cursors of ``conversation_cursor``, in an eighth of the time."""
    if order.field is ConversationOrderField.TITLE or order.pinned_first:
        return [(conversation_cursor(row, order), row) for row in rows]
    texts = _cursor_texts(rows.row_class, order.field)(rows.values)
    joined = "".join(texts)
    if len(joined) != MOMENT_KEY_LENGTH * len(texts):
        return [(_base64(text), row) for text, row in zip(texts, rows.values, strict=True)]
    # Base64 turns each group of three bytes into four characters on its own, so one call can encode all cursors.
    encoded = b2a_base64(joined.encode(), newline=False).translate(_URL_SAFE).decode()
    starts = range(0, len(encoded), _ENCODED_LENGTH)
    return [(encoded[start : start + _ENCODED_LENGTH], row) for start, row in zip(starts, rows.values, strict=True)]


@cache
def _cursor_texts(
    row_class: type[ConversationRow], field: ConversationOrderField
) -> Callable[[Sequence[Row]], list[str]]:
    """Compile a function that builds the JSON of each row's cursor."""
    key = Column(ORDER_COLUMNS[field])
    return compile_texts([f'["{field.value}","', key, '","', Column("id"), '"]'], key_layout_of(row_class))


def parse_conversation_cursor(cursor: str, order: ConversationOrder) -> Position:
    """Decode a cursor to its keyset. Raises an INVALID_INPUT error if it is malformed or was made for another order."""
    match _decode(cursor):
        case [str(field), str(key), str(hexadecimal)] if field == order.field.value and not order.pinned_first:
            return _position(key, hexadecimal, order.field)
        case [str(field), str(key), str(hexadecimal), bool(flag)] if field == order.field.value and order.pinned_first:
            return _position(key, hexadecimal, order.field, is_pinned=flag)
        case _:
            raise _malformed()


def _position(key: str, hexadecimal: str, field: ConversationOrderField, *, is_pinned: bool = False) -> Position:
    try:
        row_id = UUID(hexadecimal)
        if field is ConversationOrderField.TITLE:
            key.encode()
            if "\x00" in key:
                raise _malformed()
            return Position(key, row_id, is_pinned)
        moment = datetime.fromisoformat(key)
        if moment.tzinfo is None:
            raise _malformed()
        return Position(moment.astimezone(UTC), row_id, is_pinned)
    except (ValueError, OverflowError):
        raise _malformed() from None


@lru_cache(maxsize=10_000)
def event_cursor(sequence: int) -> str:
    """Encode an event's sequence as an opaque cursor."""
    return _base64(f"[{sequence}]")


def parse_event_cursor(cursor: str) -> int:
    """Decode a cursor to its event's sequence. An empty cursor is 0, which is before the first event.

    Raises an INVALID_INPUT error if the cursor is malformed.
    """
    if not cursor:
        return 0
    match _decode(cursor):
        case [int(sequence)] if 0 <= sequence <= MAX_SEQUENCE and not isinstance(sequence, bool):
            return sequence
        case _:
            raise _malformed()


def name_cursor(name: str) -> str:
    """Encode a file's name or path as a cursor. Invalid UTF-8 in it is represented by surrogates."""
    return _encode([name])


def parse_name_cursor(cursor: str) -> str:
    """Decode a cursor to a name. Raises an INVALID_INPUT error if it is malformed."""
    match _decode(cursor):
        case [str(name)]:
            try:
                name.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                raise _malformed() from None
            return name
        case _:
            raise _malformed()


def _malformed() -> Exception:
    return invalid("The cursor is not valid here: use one that this field returned, with the same order.")


def _encode(parts: list[object]) -> str:
    return _base64(json.dumps(parts, separators=(",", ":")))


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> object:
    if len(cursor) > CURSOR_MAX_LENGTH:
        raise _malformed()
    try:
        return json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        raise _malformed() from None
