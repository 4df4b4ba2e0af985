"""A disk without room is told as what it is, whichever way a statement was run."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from app.errors import StorageFull

# SQLSTATE: no space on the disk, and a fault of the disk.
_STATES = ("53100", "58030")
# SQLite tells a quota, and a limit on the size of files, as faults of the disk.
_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}


@contextmanager
def full_disk_told() -> Generator[None]:
    """Raise StorageFull where what is written in the block finds no place."""
    try:
        yield
    except DBAPIError as error:
        if _is_full(error):
            raise StorageFull from error
        raise


def _is_full(error: DBAPIError) -> bool:
    state = str(getattr(error.orig, "sqlstate", None) or "")
    # The higher bits of SQLite's code say what it was about to do.
    code = int(getattr(error.orig, "sqlite_errorcode", None) or 0) & 0xFF
    return state in _STATES or code in _CODES
