"""Add the author of commits to settings, and tables of pushed branches and pull requests."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("settings", sa.Column("git_author_name", sa.String(200), nullable=True))
    op.add_column("settings", sa.Column("git_author_email", sa.String(254), nullable=True))
    op.create_table(
        "pushedbranch",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("commit_sha", sa.String(64), nullable=False),
        sa.Column("pushed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversation.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("conversation_id", "name"),
    )
    op.create_table(
        "pullrequest",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("title", sa.String(1000), nullable=False),
        sa.Column("head_branch_name", sa.String(255), nullable=False),
        sa.Column("base_branch_name", sa.String(255), nullable=False),
        sa.Column("is_draft", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversation.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["repository_id"], ["gitrepository.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("conversation_id", "repository_id", "number"),
    )


def downgrade() -> None:
    op.drop_table("pullrequest")
    op.drop_table("pushedbranch")
    op.drop_column("settings", "git_author_email")
    op.drop_column("settings", "git_author_name")
