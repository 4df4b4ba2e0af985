"""Add tags, pins and archiving to conversations; the status ARCHIVED becomes a stopped conversation in the archive."""

import sqlalchemy as sa
from alembic import op

from app.models.migrations.long_statement import execute_long

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None

_KEYS = {"created": "created_at", "updated": "updated_at", "title": "title_folded"}
_PREFIXES = {"": (), "status_": ("status",), "trigger_": ("trigger",), "repository_": ("repository_id",)}
_FOLDED = sa.String(150).with_variant(sa.String(150, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("conversation", sa.Column("tags", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("conversation", sa.Column("is_pinned", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("conversation", sa.Column("is_archived", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("conversation", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    execute_long(
        "UPDATE conversation SET status = 'STOPPED', is_archived = true, archived_at = updated_at "
        "WHERE status = 'ARCHIVED'"
    )
    execute_long("UPDATE statuschange SET status = 'STOPPED' WHERE status = 'ARCHIVED'")
    execute_long("UPDATE statuschange SET previous_status = 'STOPPED' WHERE previous_status = 'ARCHIVED'")
    op.create_table(
        "conversationtag",
        sa.Column("owner_id", sa.String(200), nullable=False),
        sa.Column("name_folded", _FOLDED, nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversation.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("owner_id", "name_folded", "conversation_id"),
    )
    op.create_index("ix_conversationtag_conversation", "conversationtag", ["conversation_id"])
    is_pinned = sa.column("is_pinned") == sa.true()
    op.create_index(
        "ix_conversation_pinned",
        "conversation",
        ["owner_id", "id"],
        sqlite_where=is_pinned,
        postgresql_where=is_pinned,
    )
    _index_again("is_archived")


def downgrade() -> None:
    _index_again()
    op.drop_index("ix_conversation_pinned", "conversation")
    op.drop_table("conversationtag")
    for name in ("archived_at", "is_archived", "is_pinned", "tags"):
        op.drop_column("conversation", name)


def _index_again(*flag: str) -> None:
    """Create the indexes of lists again, with a flag before the sort key: a list shows archived ones or the others."""
    for prefix, columns in _PREFIXES.items():
        for name, key in _KEYS.items():
            index = f"ix_conversation_{prefix}{name}"
            op.drop_index(index, "conversation")
            execute_long(
                f"CREATE INDEX {index} ON conversation ({', '.join(('owner_id', *columns, *flag, key, 'id'))})"
            )
