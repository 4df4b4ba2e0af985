"""Limits on JSON that are checked before it is parsed, in linear time; parsing costs up to 50 times as much.

Commas and brackets are counted in the whole text first: that is an upper bound, and nearly every request is far below
the limit. Only if it is not are the strings removed, and the rest counted exactly.
"""

import re
from array import array
from dataclasses import dataclass
from itertools import accumulate

# Possessive quantifiers, so that an unterminated string is scanned only once.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_BRACKETS = bytes(1 if byte in b"[{" else 0xFF if byte in b"]}" else 0 for byte in range(256))
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
# A member of an object has two strings, a key and a value, with two quotes each.
_QUOTES_PER_ITEM = 4


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

    def check(self, text: bytes) -> None:
        """Raise TooMuchJSON if a limit is exceeded. It does not check that the text is valid JSON."""
        if len(text) <= self.depth:
            return
        opening = text.count(b"[") + text.count(b"{")
        if (
            opening > self.depth
            or text.count(b",") + opening > self.items
            or b"0" * (self.digits + 1) in text.translate(_DIGITS)
        ):
            self._check_without_strings(text)

    def _check_without_strings(self, text: bytes) -> None:
        if text.count(b'"') - text.count(b'\\"') > _QUOTES_PER_ITEM * (self.items + 1):
            raise self._too_many_items()
        bare = _STRING.sub(b"", text)
        if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > self.items:
            raise self._too_many_items()
        steps = array("b", bare.translate(_BRACKETS, _NO_BRACKETS))
        if max(accumulate(steps), default=0) > self.depth:
            raise TooMuchJSON(
                "JSON_DEPTH_LIMIT_EXCEEDED", f"It is not JSON nested at most {self.depth} deep.", self.depth
            )
        if b"0" * (self.digits + 1) in bare.translate(_DIGITS):
            message = f"A number has at most {self.digits} digits in a row."
            raise TooMuchJSON("JSON_NUMBER_LIMIT_EXCEEDED", message, self.digits)

    def _too_many_items(self) -> TooMuchJSON:
        message = f"JSON has at most {self.items} entries of lists and objects."
        return TooMuchJSON("JSON_ITEMS_LIMIT_EXCEEDED", message, self.items)
