"""Ensure that no conversation's ``updated_at`` is before its ``created_at``, on which filtered pages rely."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Such rows come only from an instance whose clock lagged behind another's.
    op.execute("UPDATE conversation SET updated_at = created_at WHERE updated_at < created_at")


def downgrade() -> None:
    """Do nothing: the original times are lost, and no earlier release depends on them."""
