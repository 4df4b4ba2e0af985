"""Create the tables of git provider accounts, repositories, branches, and pending tool calls."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gitrepository",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("host", sa.String(length=260), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=False),
        sa.Column("name_with_owner", sa.String(length=400), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("clone_url", sa.String(length=2000), nullable=False),
        sa.Column("is_private", sa.Boolean(), nullable=False),
        sa.Column("default_branch_name", sa.String(length=255), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["owner.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("owner_id", "provider", "host", "external_id"),
    )
    op.create_table(
        "provideraccount",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("host", sa.String(length=260), nullable=True),
        sa.Column("login", sa.String(length=200), nullable=False),
        sa.Column("token_encrypted", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["owner.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("owner_id", "provider"),
    )
    op.create_table(
        "gitbranch",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("commit_sha", sa.String(length=64), nullable=False),
        sa.Column("is_protected", sa.Boolean(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["gitrepository.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("repository_id", "name"),
    )
    op.create_table(
        "toolcall",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=True),
        sa.Column("reason", sa.String(length=2000), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["conversation_id", "sequence"], ["event.conversation_id", "event.sequence"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("conversation_id", "sequence"),
    )
    # Columns are added in place: copying the table would cascade to the events that refer to it.
    op.add_column(
        "conversation",
        sa.Column("repository_id", sa.Uuid(), sa.ForeignKey("gitrepository.id"), nullable=True),
        inline_references=True,
    )
    op.add_column("conversation", sa.Column("branch_name", sa.String(length=255), nullable=True))
    for order, column in (("created", "created_at"), ("updated", "updated_at"), ("title", "title_folded")):
        op.create_index(
            f"ix_conversation_repository_{order}", "conversation", ["owner_id", "repository_id", column, "id"]
        )


def downgrade() -> None:
    for order in ("created", "updated", "title"):
        op.drop_index(f"ix_conversation_repository_{order}", "conversation")
    op.drop_column("conversation", "branch_name")
    op.drop_column("conversation", "repository_id")
    op.drop_table("toolcall")
    op.drop_table("gitbranch")
    op.drop_table("provideraccount")
    op.drop_table("gitrepository")
