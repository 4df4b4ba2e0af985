"""User ids outside the sandbox of its processes and files."""

import os
from functools import cache
from pathlib import Path
from uuid import UUID

# User ids that nothing else uses: above those that systemd assigns to containers, but positive in 32 bits.
FIRST_UID = 1_879_048_192
UIDS = 2**28
# For containers that map few user ids, as rootless engines do: above those of the system and of people.
FEW_FIRST_UID = 20_000
FEW_UIDS = 40_000


def sandbox_uid(conversation_id: UUID) -> int | None:
    """Return the user and group id of the conversation's processes; ``None`` if the server is not root (its own id).

    Two conversations may share an id. That is acceptable, since it is only a second defence behind the namespaces.
    """
    if os.geteuid() != 0:
        return None
    first, count = (FIRST_UID, UIDS) if _maps(FIRST_UID + UIDS - 1) else (FEW_FIRST_UID, FEW_UIDS)
    return first + conversation_id.int % count


@cache
def _maps(uid: int) -> bool:
    ranges = (line.split() for line in Path("/proc/self/uid_map").read_text().splitlines())
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)
