"""Add a flag to conversations whose user chose no branch, so that git's own HEAD decides once it has cloned."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("branch_is_default", sa.Boolean(), nullable=False, server_default=sa.false())
    op.add_column("conversation", column)


def downgrade() -> None:
    op.drop_column("conversation", "branch_is_default")
