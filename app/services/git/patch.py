"""Parses the output of ``git diff``: of ``--raw -z --numstat``, and the sections of a patch."""

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

# Limit on the related files that are compared again for the diff of a rename or copy.
MAX_RELATED = 20
SECTION = b"diff --git "


class ChangeStatus(StrEnum):
    """The type of a change."""

    ADDED = "A"
    MODIFIED = "M"
    DELETED = "D"
    RENAMED = "R"
    COPIED = "C"
    TYPE_CHANGED = "T"


@dataclass(frozen=True, slots=True)
class Change:
    """A changed file. The numbers of lines are ``None`` for a binary one.

    ``related`` are the paths that make git come to the same result once more: the copies of one file belong together.
    """

    path: bytes
    previous_path: bytes | None
    status: ChangeStatus
    additions: int | None
    deletions: int | None
    related: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Raw:
    status: ChangeStatus
    path: bytes
    previous_path: bytes | None


def parse_changes(output: bytes) -> list[Change]:
    """Parse the output of ``git diff --raw -z --numstat``."""
    fields = output.split(b"\x00")[:-1]
    raws, at = _raws(fields)
    counts: dict[bytes, tuple[int | None, int | None]] = {}
    while at < len(fields):
        added, deleted, path = fields[at].split(b"\t", 2)
        at += 1
        if not path:
            path = fields[at + 1]
            at += 2
        counts[path] = (_count(added), _count(deleted))
    families: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for raw in raws:
        if raw.previous_path is not None:
            families[raw.previous_path].append(raw.path)
    changes = [_change(raw, counts.get(raw.path, (0, 0)), families) for raw in raws]
    return sorted(changes, key=lambda change: change.path)


def section_of(output: bytes, change: Change) -> tuple[bytes, bool]:
    """The part of ``git diff --raw -z -p`` that is about one change, and whether it is the last one.

    Such output names other files where a directory took the place of a file.
    """
    header, _, patch = output.partition(b"\x00\x00")
    raws, _ = _raws(header.split(b"\x00"))
    starts = [0] if patch.startswith(SECTION) else []
    at = patch.find(b"\n" + SECTION)
    while at >= 0:
        starts.append(at + 1)
        at = patch.find(b"\n" + SECTION, at + 1)
    bounds = list(pairwise([*starts, len(patch)]))
    first = 0
    for raw in raws:
        # git reports a change of type as a deletion and an addition.
        length = 2 if raw.status is ChangeStatus.TYPE_CHANGED else 1
        if (raw.path, raw.previous_path, raw.status) == (change.path, change.previous_path, change.status):
            own = bounds[first : first + length]
            return (patch[own[0][0] : own[-1][1]], own[-1][1] == len(patch)) if own else (b"", True)
        first += length
    return b"", True


def _raws(fields: list[bytes]) -> tuple[list[_Raw], int]:
    """Parse the records that begin with a colon; return them and the number of their fields."""
    records: list[_Raw] = []
    at = 0
    while at + 1 < len(fields) and fields[at].startswith(b":"):
        status = ChangeStatus(fields[at].rsplit(b" ", 1)[1][:1].decode())
        has_two = status in {ChangeStatus.RENAMED, ChangeStatus.COPIED} and at + 2 < len(fields)
        path = fields[at + 2] if has_two else fields[at + 1]
        records.append(_Raw(status, path, fields[at + 1] if has_two else None))
        at += 3 if has_two else 2
    return records, at


def _change(raw: _Raw, counts: tuple[int | None, int | None], families: dict[bytes, list[bytes]]) -> Change:
    related = (raw.path,)
    if raw.previous_path is not None:
        family = families[raw.previous_path]
        related = (raw.previous_path, *(family if len(family) <= MAX_RELATED else [raw.path]))
    return Change(raw.path, raw.previous_path, raw.status, *counts, related)


def _count(text: bytes) -> int | None:
    return int(text) if text.isdigit() else None
