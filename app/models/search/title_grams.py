"""Substring search in titles by an n-gram index: the n-grams of 1, 2, 3, 4 and 8 bytes (SQLite) or characters.

Migration 0005 creates the index and the triggers that maintain it, differently for each database (ADR 0014). The index
may return false positives, since a title can have all n-grams of a text but not the text: the caller checks each row
with LIKE. It never misses a match: titles that changed since they were indexed are listed, and count as matches.
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
"""Lengths of n-grams. A text of length 5 to 7 is looked up by two 4-grams. With fewer lengths, short texts would have
thousands of false positives.
"""
MAX_PIECES = 16
BATCH = 50
"""Changed titles that one transaction indexes, which takes about 10 ms."""
MAX_BATCHES = 400
NOTHING = "'\"\"'"
"""SQL of an FTS5 expression that matches nothing."""

_PIECES = table("titlegram", column("rowid", BigInteger()), column("titlegram", String()))
_NUMBERED = table("titlegram_row", column("number", BigInteger()), column("conversation_id", Uuid()))
_OWNERS = table("titlegram_owner", column("number", BigInteger()), column("owner_id", String()))
_STALE = table("titlegram_stale", column("number", BigInteger()))
_CHANGED = table("titlegram_stale", column("conversation_id", Uuid()), column("owner_id", String()))
_TITLES = table(
    "titlegram", column("conversation_id", Uuid()), column("owner_id", String()), column("title_folded", String())
)

# Deleting a row of titlegram_stale fires the trigger that indexes the title again.
_SQLITE_BATCH = """
    DELETE FROM titlegram_stale WHERE number IN (SELECT number FROM titlegram_stale ORDER BY number LIMIT :batch)
"""
# SKIP LOCKED leaves titles that another instance indexes, or a transaction changes, to the next batch.
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
    """Queries for an owner's conversations whose title may contain a text. ``dialect`` is ``sqlite`` or not."""

    text: str
    dialect: str

    def matches(self, owner_id: ColumnElement[str]) -> Select[int] | CompoundSelect[int]:
        """Build a query with one row for each candidate, without its id, for counting."""
        one = literal_column("1", Integer()).label("found")
        if self.dialect != "sqlite":
            indexed = select(one).where(_has(self._keys(owner_id)))
            return union_all(indexed, select(one).where(_CHANGED.c.owner_id == owner_id))
        lower, upper = _numbers_of(owner_id)
        indexed = select(one).where(_matches(self._match), *_between(_PIECES.c.rowid, lower, upper))
        return union_all(indexed, select(one).where(*_between(_STALE.c.number, lower, upper)))

    def ids(self, owner_id: ColumnElement[str], is_taken: ColumnElement[bool]) -> Select[UUID]:
        """Build the query of the candidates' ids, which has no rows unless ``is_taken`` holds."""
        if self.dialect != "sqlite":
            indexed = select(_TITLES.c.conversation_id).where(_has(case((is_taken, self._keys(owner_id)))))
            stale = select(_CHANGED.c.conversation_id).where(_CHANGED.c.owner_id == case((is_taken, owner_id)))
            return _both(indexed, stale)
        lower, upper = _numbers_of(owner_id)
        expression = case((is_taken, self._match), else_=literal_column(NOTHING, String()))
        # "+ 0" prevents SQLite from making titlegram_row the outer table of the join, which would scan all titles.
        nothing = literal_column("0", Integer())
        indexed = select(_NUMBERED.c.conversation_id).where(
            _NUMBERED.c.number == _PIECES.c.rowid + nothing,
            _matches(expression),
            *_between(_PIECES.c.rowid, lower, upper),
        )
        stale = select(_NUMBERED.c.conversation_id).where(
            _NUMBERED.c.number == _STALE.c.number + nothing, *_between(_STALE.c.number, case((is_taken, lower)), upper)
        )
        return _both(indexed, stale)

    @property
    def _match(self) -> ColumnElement[str]:
        return bindparam("title_match", match(self.text), String())

    def _keys(self, owner_id: ColumnElement[str]) -> ColumnElement[Any]:
        keys = bindparam("title_pieces", pieces(self.text), ARRAY(String()))
        # In a scalar subquery the keys are unknown to PostgreSQL's planner, so it can't plan again for each text.
        return select(func.titlegram_keys(owner_id, keys, type_=_KEYS)).scalar_subquery()


def _both(indexed: Select[UUID], stale: Select[UUID]) -> Select[UUID]:
    both = union_all(indexed, stale).subquery()
    return select(both.c.conversation_id)


def _matches(expression: ColumnElement[str]) -> ColumnElement[bool]:
    return _PIECES.c.titlegram.op("MATCH")(expression)


def _numbers_of(owner_id: ColumnElement[str]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Return the exclusive bounds of the row numbers of an owner's titles on SQLite, where they are contiguous."""
    number = select(_OWNERS.c.number).where(_OWNERS.c.owner_id == owner_id).scalar_subquery()
    bits, beyond = literal_column("32", Integer()), number + literal_column("1", Integer())
    return number.bitwise_lshift(bits), beyond.bitwise_lshift(bits)


def _between(
    number: ColumnElement[int], lower: ColumnElement[int], upper: ColumnElement[int]
) -> list[ColumnElement[bool]]:
    return [number > lower, number < upper]


def _has(keys: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the GIN index's condition on PostgreSQL. The keys are hashes that include the owner."""
    return func.titlegram_pieces(_TITLES.c.owner_id, _TITLES.c.title_folded, type_=_KEYS).op("@>")(keys)


async def catch_up(database: Database, batch: int = BATCH) -> None:
    """Index changed titles in batches, at most ``MAX_BATCHES`` of them; the rest waits for the next call."""
    statement = text(_SQLITE_BATCH if database.is_sqlite else _POSTGRESQL_BATCH)
    for _ in range(MAX_BATCHES):
        async with database.write() as session:
            result = await (await session.connection()).execute(statement, {"batch": batch})
        if result.rowcount < batch:
            return


def parameters(text: str) -> dict[str, object]:
    """Return the values of the parameters of both dialects' queries, by name."""
    return {"title_match": match(text), "title_pieces": pieces(text)}


def pieces(text: str) -> list[str]:
    """Split a text into the n-grams of characters for PostgreSQL, by the greatest length that the text has."""
    return [text[start : start + length] for start, length in _places(len(text))]


def match(text: str) -> str:
    """Build the FTS5 expression for a text. Its bytes are in hexadecimal, so no text can contain an FTS5 operator."""
    data = text.encode("utf-8", "surrogatepass")
    terms = [(data[start : start + length].hex().upper(), length) for start, length in _places(len(data))]
    # The index has 8-grams as terms; shorter n-grams are looked up as their prefixes.
    return " AND ".join(f'"{term}"' if length == LENGTHS[-1] else f'"{term}" *' for term, length in terms)


def _places(size: int) -> Sequence[tuple[int, int]]:
    """Return start and length of the n-grams: adjacent ones, and a last one that ends with the text."""
    length = max(length for length in LENGTHS if length <= size)
    starts = [*range(0, size - length, length), size - length]
    # A long text is specific enough with MAX_PIECES n-grams, spread over it.
    if len(starts) > MAX_PIECES:
        starts = [starts[number * (len(starts) - 1) // (MAX_PIECES - 1)] for number in range(MAX_PIECES)]
    return [(start, length) for start in starts]
