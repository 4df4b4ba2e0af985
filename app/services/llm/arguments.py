"""The arguments of a call as they arrive: in fragments, or in each piece from their beginning, as some gateways do."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

# Escaped characters count for nothing; a backslash alone is the end of a piece.
_STRUCTURE = re.compile(r'\\.|[{}\[\]"]|\\$', re.DOTALL)


@dataclass(slots=True)
class _Structure:
    """Looks at each piece once."""

    _depth: int = 0
    _was_open: bool = False
    _is_quoted: bool = False
    _is_escaped: bool = False

    def add(self, piece: str) -> None:
        for found in _STRUCTURE.finditer(piece, 1 if self._is_escaped else 0):
            character = found[0]
            if character == '"':
                self._is_quoted = not self._is_quoted
            elif not self._is_quoted and character[0] != "\\":
                self._depth += 1 if character in "{[" else -1
                self._was_open = True
        if piece:
            self._is_escaped = _ends_in_escape(piece[1:] if self._is_escaped else piece)

    @property
    def is_complete(self) -> bool:
        return self._was_open and self._depth <= 0 and not self._is_quoted


@dataclass(slots=True)
class Arguments:
    """Nothing is decided before the end: ``{"a":`` and ``{"a":1}`` may be an object within an object as well."""

    _pieces: list[str] = field(default_factory=list[str])
    _structure: _Structure = field(default_factory=_Structure)
    # The same, if pieces that begin like all before them stand for these.
    _newest: list[str] = field(default_factory=list[str])
    _length: int = 0
    _is_repeating: bool = False

    def add(self, piece: str) -> int:
        """Tells how many characters of the piece are new."""
        self._pieces.append(piece)
        self._structure.add(piece)
        if self._repeats_all(piece):
            grown = len(piece) - self._length
            self._is_repeating = True
            self._newest, self._length = [piece], len(piece)
            return grown
        if self._is_repeating and _begins(piece) and "".join(self._newest).startswith(piece):
            return 0
        self._newest.append(piece)
        self._length += len(piece)
        return len(piece)

    @property
    def has_any(self) -> bool:
        """Whether anything but white space has come."""
        return any(piece.strip() for piece in self._pieces)

    @property
    def is_complete(self) -> bool:
        """Whether they are a JSON object already, so that nothing can follow."""
        if self._structure.is_complete or not self._is_repeating or not self._newest[-1].rstrip().endswith("}"):
            return self._structure.is_complete
        newest = _Structure()
        newest.add("".join(self._newest))
        return newest.is_complete

    @property
    def text(self) -> str:
        """What was meant: all pieces where they are JSON together, else the newest that repeats those before it."""
        joined = "".join(self._pieces)
        if len(self._pieces) == 1 or not any(map(_begins, self._pieces[1:])) or _object_of(joined) is not None:
            return joined
        if self._is_repeating:
            return "".join(self._newest)
        return self._pieces[-1] if self._are_snapshots() else joined

    def is_repeated_by(self, piece: str) -> bool:
        """Whether a piece is all of them once more."""
        return bool(piece.strip()) and self.is_complete and piece.strip() == self.text.strip()

    def _repeats_all(self, piece: str) -> bool:
        # Only a piece that is as long as all before it is compared, so all comparisons take linear time.
        if not self._length or len(piece) < self._length or not _begins(piece):
            return False
        return piece.startswith("".join(self._newest))

    def _are_snapshots(self) -> bool:
        """Whether each piece is an object, with at least what the one before it has."""
        objects = [_object_of(piece) for piece in self._pieces if piece.strip()]
        return None not in objects and all(
            _has_grown(cast("object", before), cast("object", after)) for before, after in pairwise(objects)
        )


def _begins(piece: str) -> bool:
    return piece.lstrip().startswith("{")


def _object_of(text: str) -> Mapping[str, object] | None:
    if not text.rstrip().endswith("}"):
        return None
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else None


def _has_grown(before: object, after: object) -> bool:
    if isinstance(before, str) and isinstance(after, str):
        return after.startswith(before)
    if isinstance(before, dict) and isinstance(after, dict):
        fields, others = cast("Mapping[str, object]", before), cast("Mapping[str, object]", after)
        return fields.keys() <= others.keys() and all(_has_grown(fields[name], others[name]) for name in fields)
    if isinstance(before, list) and isinstance(after, list):
        items, more = cast("list[object]", before), cast("list[object]", after)
        return len(items) <= len(more) and all(map(_has_grown, items, more))
    return before == after


def _ends_in_escape(piece: str) -> bool:
    return (len(piece) - len(piece.rstrip("\\"))) % 2 == 1
