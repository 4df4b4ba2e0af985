"""No conversation is updated before it is created, which lists by one of the two times rely on."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Only an instance whose clock lagged behind another's has written such rows.
    op.execute("UPDATE conversation SET updated_at = created_at WHERE updated_at < created_at")


def downgrade() -> None:
    """What the clocks said is not known any more, and nothing relies on it."""
