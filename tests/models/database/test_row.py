"""Typed rows: one class for all databases of a dialect."""

from sqlmodel import SQLModel

from app.models.database.row import row_class_for
from app.models.rows.conversation import BRIEF_COLUMNS, ConversationRow

TABLE = SQLModel.metadata.tables["conversation"]


def test_every_database_of_a_dialect_has_the_same_row_class() -> None:
    # Code is generated for each row class, so it must not become more with every database that is opened.
    [first, second] = [row_class_for(ConversationRow, TABLE, name, BRIEF_COLUMNS) for name in ("sqlite", "sqlite")]
    assert first is second
    assert first is not row_class_for(ConversationRow, TABLE, "postgresql", BRIEF_COLUMNS)
    assert first is not row_class_for(ConversationRow, TABLE, "sqlite")


def test_a_column_that_is_not_read_is_none() -> None:
    row = row_class_for(ConversationRow, TABLE, "sqlite", BRIEF_COLUMNS)(["a" * 32, "A title", 1])
    assert (row.id.hex, row.title, row.title_is_auto_generated) == ("a" * 32, "A title", True)
    assert row.reason_code is None
