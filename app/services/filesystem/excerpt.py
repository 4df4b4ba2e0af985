"""Reading lines of an open file in constant memory."""

import os
from dataclasses import dataclass

_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines of a file. ``is_cut``: they exceed the limit on bytes to return, or to scan."""

    content: bytes
    is_cut: bool


def read_lines(opened: int, first: int, last: int | None, max_bytes: int, max_scanned: int) -> Excerpt:
    """Lines counted from 1 (``last``: None for all that follow), looked for in the first ``max_scanned`` bytes."""
    kept = bytearray()
    line, scanned = 1, 0
    while piece := os.read(opened, _PIECE_BYTES):
        scanned += len(piece)
        start, end = 0, len(piece)
        if line < first:
            start, line = _skip(piece, 0, line, first)
        if line >= first and last is not None:
            end, line = _skip(piece, start, line, last + 1)
        elif line >= first:
            line += piece.count(b"\n", start)
        kept += piece[start:end]
        if len(kept) > max_bytes:
            return Excerpt(bytes(kept[:max_bytes]), is_cut=True)
        if last is not None and line > last:
            return Excerpt(bytes(kept), is_cut=False)
        if scanned >= max_scanned:
            return Excerpt(bytes(kept), is_cut=bool(os.read(opened, 1)))
    return Excerpt(bytes(kept), is_cut=False)


def _skip(piece: bytes, start: int, line: int, wanted: int) -> tuple[int, int]:
    """Return the offset at which ``wanted`` begins, or the chunk's end, and the line number there."""
    breaks = piece.count(b"\n", start)
    if line + breaks < wanted:
        return len(piece), line + breaks
    while line < wanted:
        start = piece.index(b"\n", start) + 1
        line += 1
    return start, line
