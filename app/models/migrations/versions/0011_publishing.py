"""Add how far the agent may publish without asking, results of any form, and a table of branches to be merged."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    policy = sa.Column("publish_policy", sa.String(40), nullable=False, server_default="ALWAYS_ASK")
    op.add_column("settings", policy)
    op.add_column("idempotencykey", sa.Column("result", sa.String(), nullable=True))
    op.create_table(
        "mergebase",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("branch_name", sa.String(255), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversation.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["repository_id"], ["gitrepository.id"]),
        sa.PrimaryKeyConstraint("conversation_id"),
    )


def downgrade() -> None:
    op.drop_table("mergebase")
    op.drop_column("idempotencykey", "result")
    op.drop_column("settings", "publish_policy")
