"""Converts names of files to valid Unicode and back: names that are not UTF-8 are quoted like in git.

A path is shown as it stands. One that isn't valid UTF-8, or that begins with a quotation mark, is put between quotation
marks, with C's escapes for its bytes, so that what is shown always names the same file again.
"""

import os
import re

from app.services.filesystem.files import WorkspacePathError

_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
_LETTERS = {letter: code for code, letter in _ESCAPES.items()}
_FIRST_PRINTABLE, _DELETE = 0x20, 0x7F
_QUOTED = re.compile(r'(?:[^"\\]|\\[abtnvfr"\\]|\\[0-3][0-7]{2})*')
_ESCAPE = re.compile(rb'\\([abtnvfr"\\]|[0-3][0-7]{2})')


def shown(path: str) -> str:
    """Convert a path for clients. ``path`` is as of ``os.fsdecode``: invalid UTF-8 is represented by surrogates."""
    if not path.startswith('"'):
        try:
            path.encode()
        except UnicodeEncodeError:
            pass
        else:
            return path
    return f'"{"".join(map(_escaped, os.fsencode(path)))}"'


def meant(path: str) -> str:
    """Convert a client's path back: the reverse of ``shown``. Raises WorkspacePathError."""
    is_quoted = len(path) > 1 and path.startswith('"') and path.endswith('"')
    if not is_quoted:
        return path
    inner = path[1:-1]
    if not _QUOTED.fullmatch(inner):
        raise WorkspacePathError("A path between quotation marks has C's escapes, as git quotes it.")
    try:
        return os.fsdecode(
            _ESCAPE.sub(lambda match: bytes([_code(match[1])]), inner.encode("utf-8", "surrogateescape"))
        )
    except UnicodeEncodeError:
        raise WorkspacePathError("The path is not valid Unicode.") from None


def _escaped(code: int) -> str:
    if code in _ESCAPES:
        return f"\\{_ESCAPES[code]}"
    return chr(code) if _FIRST_PRINTABLE <= code < _DELETE else f"\\{code:03o}"


def _code(escape: bytes) -> int:
    letter = escape.decode()
    return _LETTERS[letter] if letter in _LETTERS else int(letter, 8)
