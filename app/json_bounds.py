"""Limits on JSON that are checked before it is parsed, in linear time; parsing costs up to 50 times as much.

The counts of commas and brackets in the whole text are looked at first, since they are upper bounds and nearly every
request is far below; only where they are not is the text looked through without its strings. That is done in pieces, so
that a thread that measures a long text lets others go on.
"""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

# Possessive quantifiers, so that an unterminated string is scanned only once.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
# The longest beginning of a text that ends outside of strings.
_WHOLE_STRINGS = re.compile(rb'(?:[^"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_BRACKETS = bytes(1 if byte in b"[{" else 0xFF if byte in b"]}" else 0 for byte in range(256))
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
# A member of an object has two strings, a key and a value, with two quotes each.
_QUOTES_PER_ITEM = 4
_PIECE_BYTES = 256 * 1024


class TooMuchJSON(Exception):
    """A limit is exceeded. The message is for the client."""

    def __init__(self, code: str, message: str, limit: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.limit = limit


@dataclass(frozen=True, slots=True)
class JSONBounds:
    """Limits on a JSON text: the number of list items and object members, nesting, and digits in a row."""

    items: int = 200_000
    depth: int = 200
    # Python refuses to parse longer integers, since parsing takes quadratic time.
    digits: int = 4000

    def check(self, text: bytes) -> int:
        """Return an upper bound of the number of items. Raises TooMuchJSON if a limit is exceeded.

        It does not check whether the text is JSON.
        """
        if len(text) <= self.depth:
            return len(text)
        opening = text.count(b"[") + text.count(b"{")
        items = text.count(b",") + opening
        if opening > self.depth or items > self.items or has_digits(text, self.digits + 1):
            return self._check_without_strings(text)
        return items

    def _check_without_strings(self, text: bytes) -> int:
        if text.count(b'"') - text.count(b'\\"') > _QUOTES_PER_ITEM * (self.items + 1):
            raise self._too_many_items()
        items, depth, tail = 0, 0, b""
        for piece in _pieces(text):
            bare = _STRING.sub(b"", piece)
            items += bare.count(b",") + bare.count(b"[") + bare.count(b"{")
            if items > self.items:
                raise self._too_many_items()
            steps = array("b", bare.translate(_BRACKETS, _NO_BRACKETS))
            if max(accumulate(steps, initial=depth)) > self.depth:
                message = f"It is not JSON nested at most {self.depth} deep."
                raise TooMuchJSON("JSON_DEPTH_LIMIT_EXCEEDED", message, self.depth)
            depth += sum(steps)
            digits = tail + bare.translate(_DIGITS)
            if b"0" * (self.digits + 1) in digits:
                message = f"A number has at most {self.digits} digits in a row."
                raise TooMuchJSON("JSON_NUMBER_LIMIT_EXCEEDED", message, self.digits)
            # A number may go on in the next piece.
            tail = digits[-self.digits :]
        return items

    def _too_many_items(self) -> TooMuchJSON:
        message = f"JSON has at most {self.items} entries of lists and objects."
        return TooMuchJSON("JSON_ITEMS_LIMIT_EXCEEDED", message, self.items)


def has_digits(text: bytes, count: int) -> bool:
    """Tell whether a text has that many digits in a row; in a tenth of the time of a regular expression.

    It goes by pieces, each of which holds the interpreter's lock for 0.2 ms.
    """
    wanted = b"0" * count
    return any(
        wanted in text[max(0, start - count) : start + _PIECE_BYTES].translate(_DIGITS)
        for start in range(0, len(text), _PIECE_BYTES)
    )


def _pieces(text: bytes) -> Iterator[bytes]:
    """Yield the text in pieces that begin and end outside of strings."""
    start, size = 0, _PIECE_BYTES
    while start < len(text):
        if len(text) - start <= size:
            yield text[start:]
            return
        match = _WHOLE_STRINGS.match(text, start, start + size)
        end = match.end() if match is not None else start
        if end > start:
            yield text[start:end]
            start, size = end, _PIECE_BYTES
        else:
            # A string that is longer than a piece begins here.
            size *= 2
