"""Converts the drivers' errors about a full disk to ``StorageFull``."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from app.errors import StorageFull

# SQLSTATE codes: disk full, and I/O error.
_STATES = ("53100", "58030")
# SQLite reports an exceeded quota, or file size limit, as an I/O error.
_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}


@contextmanager
def full_disk_told() -> Generator[None]:
    """Convert a database error in the block to StorageFull if its code says that the disk is full."""
    try:
        yield
    except DBAPIError as error:
        if _is_full(error):
            raise StorageFull from error
        raise


def _is_full(error: DBAPIError) -> bool:
    state = str(getattr(error.orig, "sqlstate", None) or "")
    # The low byte is SQLite's primary result code; the higher bits tell which system call failed.
    code = int(getattr(error.orig, "sqlite_errorcode", None) or 0) & 0xFF
    return state in _STATES or code in _CODES
