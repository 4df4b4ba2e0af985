"""Add to conversations the sequence of the last message, and that up to which the user has read."""

import sqlalchemy as sa
from alembic import op

from app.models.migrations.long_statement import execute_long

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversation", sa.Column("last_message_sequence", sa.Integer(), nullable=True))
    op.add_column("conversation", sa.Column("read_sequence", sa.Integer(), nullable=False, server_default="0"))
    # What was there before the upgrade counts as read. The last message is among a log's last events, by its index.
    execute_long(
        """
        UPDATE conversation SET read_sequence = last_sequence, last_message_sequence = (
            SELECT event.sequence FROM event
            WHERE event.conversation_id = conversation.id AND kind = 'MessageEvent' AND source <> 'ENVIRONMENT'
            ORDER BY event.sequence DESC LIMIT 1
        )
        """
    )


def downgrade() -> None:
    op.drop_column("conversation", "read_sequence")
    op.drop_column("conversation", "last_message_sequence")
