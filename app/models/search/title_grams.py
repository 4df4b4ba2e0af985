"""Texts in titles, by an index of the pieces that a title has: every 1, 2, 3, 4 and 8 bytes, or characters, in a row.

Migration 0005 makes the index and the triggers that keep it, in each database's own way (ADR 0014). A row that has the
text has its pieces too; not the other way round, so that the row is always asked itself. The index may lag behind:
titles that have changed since are noted, and every search takes them for found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    String,
    Uuid,
    bindparam,
    case,
    column,
    func,
    literal_column,
    select,
    table,
    text,
    union_all,
)
from sqlalchemy.sql.selectable import CompoundSelect, Select

from app.models.database.database import Database

LENGTHS = (1, 2, 3, 4, 8)
"""A text of 5 to 7 takes two pieces of 4. Fewer lengths, and texts of few letters meet rows by the thousand."""
MAX_PIECES = 16
BATCH = 50
"""Changed titles that are indexed in one transaction, which takes about 10 ms."""
MAX_BATCHES = 400
NOTHING = "'\"\"'"
"""What no title matches, in SQL."""

_PIECES = table("titlegram", column("rowid", BigInteger()), column("titlegram", String()))
_NUMBERED = table("titlegram_row", column("number", BigInteger()), column("conversation_id", Uuid()))
_OWNERS = table("titlegram_owner", column("number", BigInteger()), column("owner_id", String()))
_STALE = table("titlegram_stale", column("number", BigInteger()))
_CHANGED = table("titlegram_stale", column("conversation_id", Uuid()), column("owner_id", String()))
_TITLES = table(
    "titlegram", column("conversation_id", Uuid()), column("owner_id", String()), column("title_folded", String())
)

# Triggers index the titles whose notes are deleted.
_SQLITE_BATCH = """
    DELETE FROM titlegram_stale WHERE number IN (SELECT number FROM titlegram_stale ORDER BY number LIMIT :batch)
"""
# What another instance indexes or somebody changes is left for the next time.
_POSTGRESQL_BATCH = """
    DELETE FROM titlegram_stale WHERE conversation_id IN (
        SELECT titlegram_stale.conversation_id FROM titlegram_stale JOIN conversation ON id = conversation_id
        ORDER BY conversation_id LIMIT :batch
        FOR UPDATE OF titlegram_stale SKIP LOCKED FOR KEY SHARE OF conversation SKIP LOCKED
    )
"""
_KEYS = ARRAY(BigInteger())


@dataclass(frozen=True, slots=True)
class TitleGrams:
    """The owner's conversations whose title has all pieces of a text. ``dialect`` is the database's."""

    text: str
    dialect: str

    def found(self, owner_id: ColumnElement[str]) -> Select[int] | CompoundSelect[int]:
        """A row for each."""
        one = literal_column("1", Integer()).label("found")
        if self.dialect != "sqlite":
            indexed = select(one).where(_has(self._keys(owner_id)))
            return union_all(indexed, select(one).where(_CHANGED.c.owner_id == owner_id))
        lower, upper = _numbers_of(owner_id)
        indexed = select(one).where(_matches(self._match), *_between(_PIECES.c.rowid, lower, upper))
        return union_all(indexed, select(one).where(*_between(_STALE.c.number, lower, upper)))

    def ids(self, owner_id: ColumnElement[str], is_taken: ColumnElement[bool]) -> Select[UUID]:
        """Their ids, or none where this is not taken."""
        if self.dialect != "sqlite":
            indexed = select(_TITLES.c.conversation_id).where(_has(case((is_taken, self._keys(owner_id)))))
            stale = select(_CHANGED.c.conversation_id).where(_CHANGED.c.owner_id == case((is_taken, owner_id)))
            return _both(indexed, stale)
        lower, upper = _numbers_of(owner_id)
        wanted = case((is_taken, self._match), else_=literal_column(NOTHING, String()))
        # An operator on the number keeps SQLite from going through all titles, to look for each of them in the other.
        nothing = literal_column("0", Integer())
        indexed = select(_NUMBERED.c.conversation_id).where(
            _NUMBERED.c.number == _PIECES.c.rowid + nothing, _matches(wanted), *_between(_PIECES.c.rowid, lower, upper)
        )
        stale = select(_NUMBERED.c.conversation_id).where(
            _NUMBERED.c.number == _STALE.c.number + nothing, *_between(_STALE.c.number, case((is_taken, lower)), upper)
        )
        return _both(indexed, stale)

    @property
    def _match(self) -> ColumnElement[str]:
        return bindparam("title_match", match(self.text), String())

    def _keys(self, owner_id: ColumnElement[str]) -> ColumnElement[Any]:
        wanted = bindparam("title_pieces", pieces(self.text), ARRAY(String()))
        # As a query of their own they are nothing that PostgreSQL could plan each text anew for.
        return select(func.titlegram_keys(owner_id, wanted, type_=_KEYS)).scalar_subquery()


def _both(indexed: Select[UUID], stale: Select[UUID]) -> Select[UUID]:
    both = union_all(indexed, stale).subquery()
    return select(both.c.conversation_id)


def _matches(wanted: ColumnElement[str]) -> ColumnElement[bool]:
    return _PIECES.c.titlegram.op("MATCH")(wanted)


def _numbers_of(owner_id: ColumnElement[str]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """On SQLite, where the numbers of an owner's titles lie side by side: between these."""
    number = select(_OWNERS.c.number).where(_OWNERS.c.owner_id == owner_id).scalar_subquery()
    bits, beyond = literal_column("32", Integer()), number + literal_column("1", Integer())
    return number.bitwise_lshift(bits), beyond.bitwise_lshift(bits)


def _between(
    number: ColumnElement[int], lower: ColumnElement[int], upper: ColumnElement[int]
) -> list[ColumnElement[bool]]:
    return [number > lower, number < upper]


def _has(keys: ColumnElement[Any]) -> ColumnElement[bool]:
    """On PostgreSQL, where the keys are of one owner."""
    return func.titlegram_pieces(_TITLES.c.owner_id, _TITLES.c.title_folded, type_=_KEYS).op("@>")(keys)


async def catch_up(database: Database, batch: int = BATCH) -> None:
    """Bring the index up to date with the titles, as many as there is time for."""
    statement = text(_SQLITE_BATCH if database.is_sqlite else _POSTGRESQL_BATCH)
    for _ in range(MAX_BATCHES):
        async with database.write() as session:
            result = await (await session.connection()).execute(statement, {"batch": batch})
        if result.rowcount < batch:
            return


def parameters(wanted: str) -> dict[str, object]:
    """The values of the statements' parameters, by name."""
    return {"title_match": match(wanted), "title_pieces": pieces(wanted)}


def pieces(wanted: str) -> list[str]:
    """Pieces by which PostgreSQL finds a text: characters, as long as there are, and the whole text has."""
    return [wanted[start : start + length] for start, length in _places(len(wanted))]


def match(wanted: str) -> str:
    """An expression of FTS5 that finds a text: its bytes in hexadecimal, so that nothing in it is an operator."""
    data = wanted.encode("utf-8", "surrogatepass")
    terms = [(data[start : start + length].hex().upper(), length) for start, length in _places(len(data))]
    # The longest pieces are whole terms, the others beginnings of terms.
    return " AND ".join(f'"{term}"' if length == LENGTHS[-1] else f'"{term}" *' for term, length in terms)


def _places(size: int) -> Sequence[tuple[int, int]]:
    """Where pieces begin, and how long they are: side by side, the last one at the text's end."""
    length = max(length for length in LENGTHS if length <= size)
    starts = [*range(0, size - length, length), size - length]
    # Of a long text some will do.
    if len(starts) > MAX_PIECES:
        starts = [starts[number * (len(starts) - 1) // (MAX_PIECES - 1)] for number in range(MAX_PIECES)]
    return [(start, length) for start in starts]
