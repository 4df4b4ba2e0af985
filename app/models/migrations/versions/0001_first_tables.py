"""Create the first tables: owners, conversations, events, settings and what belongs to them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "idempotencykey",
        sa.Column("owner_id", sa.String(length=200), nullable=False),
        sa.Column("operation", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("event_sequence", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "operation", "key"),
    )
    with op.batch_alter_table("idempotencykey", schema=None) as batch_op:
        batch_op.create_index("ix_idempotencykey_created", ["created_at"], unique=False)

    op.create_table(
        "owner",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("status_sequence", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "statuschange",
        sa.Column("owner_id", sa.String(length=200), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("is_deletion", sa.Boolean(), nullable=False),
        sa.Column("previous_status", sa.String(length=40), nullable=True),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("agent_state", sa.String(length=40), nullable=True),
        sa.Column("reason_code", sa.String(length=80), nullable=True),
        sa.Column("reason_message", sa.String(length=1000), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "sequence"),
    )
    with op.batch_alter_table("statuschange", schema=None) as batch_op:
        batch_op.create_index("ix_statuschange_occurred", ["occurred_at"], unique=False)

    op.create_table(
        "workspaceremoval",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id"),
    )
    with op.batch_alter_table("workspaceremoval", schema=None) as batch_op:
        batch_op.create_index("ix_workspaceremoval_next_attempt_at", ["next_attempt_at"], unique=False)

    op.create_table(
        "conversation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.String(length=200), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column(
            "title_folded",
            sa.String(length=600).with_variant(sa.String(length=600, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("title_is_auto_generated", sa.Boolean(), nullable=False),
        sa.Column("title_revision", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("agent_state", sa.String(length=40), nullable=True),
        sa.Column("reason_code", sa.String(length=80), nullable=True),
        sa.Column("reason_message", sa.String(length=1000), nullable=True),
        sa.Column("status_sequence", sa.Integer(), nullable=False),
        sa.Column("trigger", sa.String(length=40), nullable=False),
        sa.Column("llm_model", sa.String(length=200), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=False),
        sa.Column("is_cost_known", sa.Boolean(), nullable=False),
        sa.Column("budget_from_usd", sa.Float(), nullable=False),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("last_run", sa.Integer(), nullable=False),
        sa.Column("active_run", sa.Integer(), nullable=True),
        sa.Column("run_attempts", sa.Integer(), nullable=False),
        sa.Column("waiting_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["owner.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("conversation", schema=None) as batch_op:
        batch_op.create_index("ix_conversation_active_run", ["active_run", "id"], unique=False)
        batch_op.create_index("ix_conversation_created", ["owner_id", "created_at", "id"], unique=False)
        batch_op.create_index("ix_conversation_live", ["status", "agent_state", "waiting_since"], unique=False)
        batch_op.create_index(
            "ix_conversation_status_created", ["owner_id", "status", "created_at", "id"], unique=False
        )
        batch_op.create_index(
            "ix_conversation_status_title", ["owner_id", "status", "title_folded", "id"], unique=False
        )
        batch_op.create_index(
            "ix_conversation_status_updated", ["owner_id", "status", "updated_at", "id"], unique=False
        )
        batch_op.create_index("ix_conversation_title", ["owner_id", "title_folded", "id"], unique=False)
        batch_op.create_index(
            "ix_conversation_trigger_created", ["owner_id", "trigger", "created_at", "id"], unique=False
        )
        batch_op.create_index(
            "ix_conversation_trigger_title", ["owner_id", "trigger", "title_folded", "id"], unique=False
        )
        batch_op.create_index(
            "ix_conversation_trigger_updated", ["owner_id", "trigger", "updated_at", "id"], unique=False
        )
        batch_op.create_index("ix_conversation_updated", ["owner_id", "updated_at", "id"], unique=False)

    op.create_table(
        "settings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.String(length=200), nullable=False),
        sa.Column("llm_model", sa.String(length=200), nullable=False),
        sa.Column("llm_base_url", sa.String(length=2000), nullable=True),
        sa.Column("llm_api_key_encrypted", sa.String(), nullable=True),
        sa.Column("max_iterations", sa.Integer(), nullable=False),
        sa.Column("max_budget_usd", sa.Float(), nullable=True),
        sa.Column("confirmation_mode", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["owner.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("owner_id"),
    )
    op.create_table(
        "event",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("llm_model", sa.String(length=200), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversation.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("conversation_id", "sequence"),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index("ix_event_run", ["conversation_id", "run", "sequence"], unique=False)
        batch_op.create_index("ix_event_source", ["conversation_id", "source", "sequence"], unique=False)

    op.create_table(
        "replay",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("tool_calls", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversation.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("conversation_id"),
    )


def downgrade() -> None:
    op.drop_table("replay")
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.drop_index("ix_event_source")
        batch_op.drop_index("ix_event_run")

    op.drop_table("event")
    op.drop_table("settings")
    with op.batch_alter_table("conversation", schema=None) as batch_op:
        batch_op.drop_index("ix_conversation_updated")
        batch_op.drop_index("ix_conversation_trigger_updated")
        batch_op.drop_index("ix_conversation_trigger_title")
        batch_op.drop_index("ix_conversation_trigger_created")
        batch_op.drop_index("ix_conversation_title")
        batch_op.drop_index("ix_conversation_status_updated")
        batch_op.drop_index("ix_conversation_status_title")
        batch_op.drop_index("ix_conversation_status_created")
        batch_op.drop_index("ix_conversation_live")
        batch_op.drop_index("ix_conversation_created")
        batch_op.drop_index("ix_conversation_active_run")

    op.drop_table("conversation")
    with op.batch_alter_table("workspaceremoval", schema=None) as batch_op:
        batch_op.drop_index("ix_workspaceremoval_next_attempt_at")

    op.drop_table("workspaceremoval")
    with op.batch_alter_table("statuschange", schema=None) as batch_op:
        batch_op.drop_index("ix_statuschange_occurred")

    op.drop_table("statuschange")
    op.drop_table("owner")
    with op.batch_alter_table("idempotencykey", schema=None) as batch_op:
        batch_op.drop_index("ix_idempotencykey_created")

    op.drop_table("idempotencykey")
