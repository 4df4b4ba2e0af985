"""Whose processes and files those in a sandbox are, as the system outside sees it."""

import os
from functools import cache
from pathlib import Path
from uuid import UUID

# Above what systemd gives to containers, and still a positive 32-bit number: nothing else on a system uses these.
FIRST_UID = 1_879_048_192
UIDS = 2**28
# In a container that maps few user ids, as with rootless engines: above the system's and people's own.
FEW_FIRST_UID = 20_000
FEW_UIDS = 40_000


def sandbox_uid(conversation_id: UUID) -> int | None:
    """The user (and group) id of the conversation's processes; ``None``: the server's own, since it isn't root.

    Two conversations may share one, which is harmless: it is the second wall, behind the namespaces.
    """
    if os.geteuid() != 0:
        return None
    first, count = (FIRST_UID, UIDS) if _maps(FIRST_UID + UIDS - 1) else (FEW_FIRST_UID, FEW_UIDS)
    return first + conversation_id.int % count


@cache
def _maps(uid: int) -> bool:
    ranges = (line.split() for line in Path("/proc/self/uid_map").read_text().splitlines())
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)
