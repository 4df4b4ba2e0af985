"""The writes of runs, and of creating conversations, by compiled statements."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Integer, Uuid, bindparam, delete, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement
from sqlmodel import UTCDateTime

from app.models.conversation import LIVE_STATUSES, Conversation
from app.models.database.unit_of_work import UnitOfWork, loaded, table_of
from app.models.draft import Draft
from app.models.event import Event, NewEvent, kind_of
from app.models.idempotency import IdempotencyKey
from app.models.owner import Owner
from app.models.replay import Replay, ReplayProgress
from app.models.tool_call import ToolCall

_OWNER, _CONVERSATION, _EVENT = table_of(Owner), table_of(Conversation), table_of(Event)
_KEY = table_of(IdempotencyKey)
_DRAFT, _TOOL_CALL = table_of(Draft), table_of(ToolCall)
_REPLAY, _REPLAY_PROGRESS = table_of(Replay), table_of(ReplayProgress)
_ID = bindparam("of_id", type_=Uuid())


class RunWrites:
    """Locks and writes of one unit of work. To prevent deadlocks, lock an owner before its conversations."""

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit

    async def lock_owner(self, owner_id: str) -> None:
        """Lock the owner's row until the transaction ends, so that no other one changes the owner's statuses."""
        await self._unit.rows("lock owner", _lock_owner, {"of_owner": owner_id})

    async def lock(self, conversation_id: UUID, *, with_owner: bool) -> Conversation | None:
        """Read a conversation with a row lock; ``with_owner`` also locks its owner, if the status may change."""
        build = _lock_with_owner if with_owner else _lock
        return await self._unit.read(Conversation, ("lock", with_owner), build, {"of_id": conversation_id})

    async def next_status_sequence(self, owner_id: str) -> int:
        """Increment the owner's counter of status changes, and return the new value."""
        rows = await self._unit.rows("next status sequence", _next_status_sequence, {"of_owner": owner_id})
        return rows[0][0]

    async def count_live(self, owner_id: str) -> int:
        """Count the owner's starting and running conversations."""
        return (await self._unit.rows("count live", _count_live, {"of_owner": owner_id}))[0][0]

    async def live(self, owner_id: str) -> list[Conversation]:
        """Return the owner's starting and running conversations, least recently updated first. They are read-only."""
        rows = await self._unit.rows("live", _live, {"of_owner": owner_id})
        return loaded(Conversation, rows, self._unit.dialect)

    async def idempotency_key(self, owner_id: str, operation: str, key: str, since: datetime) -> IdempotencyKey | None:
        """Return the first result under a key, unless it is older than ``since``."""
        parameters = {"of_owner": owner_id, "of_operation": operation, "of_key": key, "since": since}
        rows = await self._unit.rows("idempotency key", _idempotency_key, parameters)
        return loaded(IdempotencyKey, rows, self._unit.dialect)[0] if rows else None

    def remember(self, key: IdempotencyKey) -> None:
        """Store a key's result, replacing an expired one."""
        self._unit.later("remember key", lambda: _remember(self._unit.dialect.name), key.model_dump())

    async def is_of(self, conversation_id: UUID, sequence: int, run: int, event: NewEvent, now: datetime) -> bool:
        """Tell whether the log has exactly this event at the sequence."""
        parameters = {"of_id": conversation_id, "of_sequence": sequence}
        row = await self._unit.read(Event, "event", _event, parameters)
        expected = (run, kind_of(event.body), event.source, event.created_at or now)
        return row is not None and (row.run, row.kind, row.source, row.created_at) == expected

    def begin_call(self, conversation_id: UUID, sequence: int, now: datetime) -> None:
        """Record that a tool call begins, by inserting or updating its row."""
        self._unit.later(
            "begin call",
            lambda: _begin_call(self._unit.dialect.name),
            {"conversation_id": conversation_id, "sequence": sequence, "now": now},
        )

    def discard_draft(self, conversation_id: UUID, run: int, attempt: int) -> None:
        """Delete an attempt's draft."""
        parameters = {"of_id": conversation_id, "of_run": run, "of_attempt": attempt}
        self._unit.later("discard draft", _discard_draft, parameters)

    def discard_replay(self, conversation_id: UUID) -> None:
        """Delete the trajectory to replay, if there is one."""
        for table in (_REPLAY, _REPLAY_PROGRESS):
            self._unit.later(
                ("discard", table.name),
                lambda table=table: delete(table).where(table.c.conversation_id == _ID),
                {"of_id": conversation_id},
            )


def _lock_owner() -> ClauseElement:
    return select(_OWNER.c.id).where(_OWNER.c.id == bindparam("of_owner")).with_for_update()


def _lock() -> ClauseElement:
    return select(*_CONVERSATION.c).where(_CONVERSATION.c.id == _ID).with_for_update()


def _lock_with_owner() -> ClauseElement:
    # PostgreSQL locks in this order. After waiting for a lock, it reads the row again.
    return (
        select(*_CONVERSATION.c)
        .join_from(_OWNER, _CONVERSATION, _CONVERSATION.c.owner_id == _OWNER.c.id)
        .where(_CONVERSATION.c.id == _ID)
        .with_for_update(of=[_OWNER, _CONVERSATION])
    )


def _next_status_sequence() -> ClauseElement:
    return (
        update(_OWNER)
        .where(_OWNER.c.id == bindparam("of_owner"))
        .values(status_sequence=_OWNER.c.status_sequence + 1)
        .returning(_OWNER.c.status_sequence)
    )


def _count_live() -> ClauseElement:
    return select(func.count()).select_from(_CONVERSATION).where(*_is_live())


def _live() -> ClauseElement:
    return select(*_CONVERSATION.c).where(*_is_live()).order_by(_CONVERSATION.c.updated_at, _CONVERSATION.c.id)


def _is_live() -> list[ColumnElement[bool]]:
    statuses: list[ColumnElement[str]] = [literal(status.value) for status in LIVE_STATUSES]
    return [_CONVERSATION.c.owner_id == bindparam("of_owner"), _CONVERSATION.c.status.in_(statuses)]


def _idempotency_key() -> ClauseElement:
    columns = _KEY.c
    return select(*columns).where(
        columns.owner_id == bindparam("of_owner"),
        columns.operation == bindparam("of_operation"),
        columns.key == bindparam("of_key"),
        columns.created_at >= bindparam("since", type_=UTCDateTime()),
    )


def _remember(dialect: str) -> ClauseElement:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(_KEY).values({column.name: bindparam(column.name, type_=column.type) for column in _KEY.c})
    result = ("conversation_id", "event_sequence", "result", "created_at")
    return statement.on_conflict_do_update(
        index_elements=list(_KEY.primary_key), set_={name: statement.excluded[name] for name in result}
    )


def _event() -> ClauseElement:
    sequence = bindparam("of_sequence", type_=BigInteger())
    return select(*_EVENT.c).where(_EVENT.c.conversation_id == _ID, _EVENT.c.sequence == sequence)


def _begin_call(dialect: str) -> ClauseElement:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    begun_at = bindparam("now", type_=UTCDateTime())
    values = {
        "conversation_id": bindparam("conversation_id", type_=Uuid()),
        "sequence": bindparam("sequence", type_=BigInteger()),
        "begun_at": begun_at,
    }
    keys = [_TOOL_CALL.c.conversation_id, _TOOL_CALL.c.sequence]
    statement = insert(_TOOL_CALL).values(values)
    return statement.on_conflict_do_update(index_elements=keys, set_={"begun_at": statement.excluded.begun_at})


def _discard_draft() -> ClauseElement:
    return delete(_DRAFT).where(
        _DRAFT.c.conversation_id == _ID,
        _DRAFT.c.run == bindparam("of_run", type_=Integer()),
        _DRAFT.c.attempt == bindparam("of_attempt", type_=Integer()),
    )
