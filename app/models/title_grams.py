"""Texts in titles, by an index of the pieces that a title has: every 1, 2, 3, 4 and 8 bytes, or characters, in a row.

Migration 0005 makes the index and the triggers that keep it, in each database's own way (ADR 0014). A row that has the
text has its pieces too; not the other way round, so that the row is always asked itself.
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
)
from sqlalchemy.sql.selectable import Select

LENGTHS = (1, 2, 3, 4, 8)
"""A text of 5 to 7 takes two pieces of 4. Fewer lengths, and texts of few letters meet rows by the thousand."""
MAX_PIECES = 16
NOTHING = "'\"\"'"
"""What no title matches, in SQL."""

_PIECES = table("titlegram", column("rowid", BigInteger()), column("titlegram", String()))
_NUMBERED = table("titlegram_row", column("number", BigInteger()), column("conversation_id", Uuid()))
_OWNERS = table("titlegram_owner", column("number", BigInteger()), column("owner_id", String()))
_TITLES = table(
    "titlegram", column("conversation_id", Uuid()), column("owner_id", String()), column("title_folded", String())
)

_KEYS = ARRAY(BigInteger())


@dataclass(frozen=True, slots=True)
class TitleGrams:
    """The owner's conversations whose title has all pieces of a text. ``dialect`` is the database's."""

    text: str
    dialect: str

    def found(self, owner_id: ColumnElement[str]) -> Select[int]:
        """A row for each."""
        selected = select(literal_column("1", Integer()).label("found"))
        if self.dialect != "sqlite":
            return selected.where(_has(self._keys(owner_id)))
        return selected.where(*_matches(owner_id, self._match))

    def ids(self, owner_id: ColumnElement[str], is_taken: ColumnElement[bool]) -> Select[UUID]:
        """Their ids, or none where this is not taken."""
        if self.dialect != "sqlite":
            return select(_TITLES.c.conversation_id).where(_has(case((is_taken, self._keys(owner_id)))))
        wanted = case((is_taken, self._match), else_=literal_column(NOTHING, String()))
        # An operator on the number keeps SQLite from asking for the text once for each title.
        numbered = _NUMBERED.c.number == _PIECES.c.rowid + literal_column("0", Integer())
        return select(_NUMBERED.c.conversation_id).where(numbered, *_matches(owner_id, wanted))

    @property
    def _match(self) -> ColumnElement[str]:
        return bindparam("title_match", match(self.text), String())

    def _keys(self, owner_id: ColumnElement[str]) -> ColumnElement[Any]:
        wanted = bindparam("title_pieces", pieces(self.text), ARRAY(String()))
        return func.titlegram_keys(owner_id, wanted, type_=_KEYS)


def _matches(owner_id: ColumnElement[str], wanted: ColumnElement[str]) -> list[ColumnElement[bool]]:
    """On SQLite, where the numbers of an owner's titles lie side by side."""
    number, bits = (
        select(_OWNERS.c.number).where(_OWNERS.c.owner_id == owner_id).scalar_subquery(),
        literal_column("32", Integer()),
    )
    beyond = number + literal_column("1", Integer())
    return [
        _PIECES.c.titlegram.op("MATCH")(wanted),
        _PIECES.c.rowid > number.bitwise_lshift(bits),
        _PIECES.c.rowid < beyond.bitwise_lshift(bits),
    ]


def _has(keys: ColumnElement[Any]) -> ColumnElement[bool]:
    """On PostgreSQL, where the keys are of one owner."""
    return func.titlegram_pieces(_TITLES.c.owner_id, _TITLES.c.title_folded, type_=_KEYS).op("@>")(keys)


def parameters(text: str) -> dict[str, object]:
    """The values of the statements' parameters, by name."""
    return {"title_match": match(text), "title_pieces": pieces(text)}


def pieces(text: str) -> list[str]:
    """Pieces by which PostgreSQL finds a text: characters, as long as there are, and the whole text has."""
    return [text[start : start + length] for start, length in _places(len(text))]


def match(text: str) -> str:
    """An expression of FTS5 that finds a text: its bytes in hexadecimal, so that nothing in it is an operator."""
    data = text.encode("utf-8", "surrogatepass")
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
