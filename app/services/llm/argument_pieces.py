"""Assembles a call's arguments from a stream: of fragments, or of snapshots from the beginning, as gateways send."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

# Tokens that matter for JSON's structure. Escaped characters don't; a lone backslash is at the end of a fragment.
_STRUCTURE = re.compile(r'\\.|[{}\[\]"]|\\$', re.DOTALL)


@dataclass(slots=True)
class Structure:
    """Tracks the nesting of a JSON text that comes in fragments, in linear time."""

    _depth: int = 0
    _was_open: bool = False
    _is_quoted: bool = False
    _is_escaped: bool = False

    def add(self, piece: str) -> None:
        """Add the next fragment."""
        for match in _STRUCTURE.finditer(piece, 1 if self._is_escaped else 0):
            character = match[0]
            if character == '"':
                self._is_quoted = not self._is_quoted
            elif not self._is_quoted and character[0] != "\\":
                self._depth += 1 if character in "{[" else -1
                self._was_open = True
        if piece:
            self._is_escaped = _ends_in_escape(piece[1:] if self._is_escaped else piece)

    @property
    def is_complete(self) -> bool:
        """Tell whether all that was opened is closed."""
        return self._was_open and self._depth <= 0 and not self._is_quoted


@dataclass(slots=True)
class ArgumentPieces:
    """Collects fragments, and decides only at the end whether they are snapshots.

    Before, it can't be known: ``{"a":`` and then ``{"a":1}`` may be a snapshot, or an object within an object.
    """

    _pieces: list[str] = field(default_factory=list[str])
    _structure: Structure = field(default_factory=Structure)
    # The fragments of the newest snapshot, if a fragment that begins like all before it is a snapshot.
    _newest: list[str] = field(default_factory=list[str])
    _length: int = 0
    _is_repeating: bool = False

    def add(self, piece: str) -> int:
        """Add a fragment, and return how many of its characters are new."""
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
        """Tell whether anything but white space has arrived."""
        return any(piece.strip() for piece in self._pieces)

    @property
    def is_complete(self) -> bool:
        """Tell whether the arguments are a complete JSON object, after which nothing can follow."""
        if self._structure.is_complete or not self._is_repeating or not self._newest[-1].rstrip().endswith("}"):
            return self._structure.is_complete
        newest = Structure()
        newest.add("".join(self._newest))
        return newest.is_complete

    @property
    def text(self) -> str:
        """The arguments: all fragments joined, if that is valid JSON, else the newest snapshot."""
        joined = "".join(self._pieces)
        if len(self._pieces) == 1 or not any(map(_begins, self._pieces[1:])) or _object_of(joined) is not None:
            return joined
        if self._is_repeating:
            return "".join(self._newest)
        return self._pieces[-1] if self._are_snapshots() else joined

    def is_repeated_by(self, piece: str) -> bool:
        """Tell whether a fragment repeats the complete arguments."""
        return bool(piece.strip()) and self.is_complete and piece.strip() == self.text.strip()

    def _repeats_all(self, piece: str) -> bool:
        # Only a fragment that is as long as all before it is compared, so all comparisons take linear time together.
        if not self._length or len(piece) < self._length or not _begins(piece):
            return False
        return piece.startswith("".join(self._newest))

    def _are_snapshots(self) -> bool:
        """Tell whether each fragment is an object that extends the one before it."""
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
        parsed = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, object]", parsed) if isinstance(parsed, dict) else None


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
