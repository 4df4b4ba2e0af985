"""Move a replay's progress to a table of its own, since SQLite rewrites a whole row when one column changes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_REPLAYS = sa.table(
    "replay",
    sa.column("conversation_id", sa.Uuid()),
    sa.column("events", sa.JSON()),
    sa.column("position", sa.Integer()),
    sa.column("tool_calls", sa.JSON()),
)
_PROGRESS = sa.table("replayprogress", sa.column("conversation_id", sa.Uuid()), sa.column("position", sa.Integer()))
_EVENTS = sa.table(
    "event",
    sa.column("conversation_id", sa.Uuid()),
    sa.column("sequence", sa.BigInteger()),
    sa.column("kind", sa.String()),
)
_TOOL_CALL = "ToolCallEvent"


def upgrade() -> None:
    op.create_table(
        "replayprogress",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversation.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("conversation_id"),
    )
    found = sa.select(_REPLAYS.c.conversation_id, _REPLAYS.c.position)
    op.execute(sa.insert(_PROGRESS).from_select(["conversation_id", "position"], found))
    op.drop_column("replay", "tool_calls")
    op.drop_column("replay", "position")


def downgrade() -> None:
    op.add_column("replay", sa.Column("position", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("replay", sa.Column("tool_calls", sa.JSON(), nullable=False, server_default="{}"))
    connection = op.get_bind()
    for conversation_id, position in connection.execute(sa.select(_PROGRESS)).all():
        of_replay = _REPLAYS.c.conversation_id == conversation_id
        events = connection.execute(sa.select(_REPLAYS.c.events).where(of_replay)).scalar_one()
        # While a conversation replays, all tool calls in its log come from the trajectory, in the same order.
        in_log = sa.select(_EVENTS.c.sequence).where(
            _EVENTS.c.conversation_id == conversation_id, _EVENTS.c.kind == _TOOL_CALL
        )
        played = connection.execute(in_log.order_by(_EVENTS.c.sequence)).scalars()
        calls = (str(event["sequence"]) for event in events if event["type"] == _TOOL_CALL)
        # Fewer were played than there are.
        values = {"position": position, "tool_calls": dict(zip(calls, played, strict=False))}
        connection.execute(sa.update(_REPLAYS).where(of_replay).values(values))
    op.drop_table("replayprogress")
