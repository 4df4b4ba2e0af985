"""Add to settings how far the agent may publish without asking, and to idempotency keys a result of any form."""

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


def downgrade() -> None:
    op.drop_column("idempotencykey", "result")
    op.drop_column("settings", "publish_policy")
