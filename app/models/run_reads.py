"""The reads of runs, by compiled statements."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import BigInteger, Integer, Select, Uuid, bindparam, exists, select
from sqlalchemy.sql import ClauseElement

from app.models.condensation import Condensation
from app.models.conversation import Conversation
from app.models.database.database import Database
from app.models.database.unit_of_work import loaded, table_of
from app.models.event import Event, EventKind
from app.models.owner import Owner
from app.models.provider_account import ProviderAccount
from app.models.replay import ReplayProgress
from app.models.settings import Settings
from app.models.tool_call import ToolCall

_CONVERSATION, _EVENT, _CONDENSATION = table_of(Conversation), table_of(Event), table_of(Condensation)
_TOOL_CALL, _REPLAY_PROGRESS = table_of(ToolCall), table_of(ReplayProgress)
_OWNER, _SETTINGS, _PROVIDER_ACCOUNT = table_of(Owner), table_of(Settings), table_of(ProviderAccount)
_ID = bindparam("id", type_=Uuid())


class RunReads:
    """Reads objects, each with one statement. Changes of the objects are not written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def conversation(self, conversation_id: UUID) -> Conversation | None:
        """Return the conversation, without checking its owner."""
        rows = await self._database.rows_of(Conversation, "run: conversation", _conversation, {"id": conversation_id})
        return rows[0] if rows else None

    async def conversation_and_replay(self, conversation_id: UUID) -> tuple[Conversation | None, bool]:
        """Return the conversation, and whether a part of a trajectory is still to be played."""
        statement = self._database.compiled("run: conversation and replay", _conversation_and_replay)
        rows = await self._database.direct.read(statement, {"id": conversation_id})
        conversations = loaded(Conversation, rows, self._database.reader.dialect)
        return (conversations[0], bool(rows[0][-1])) if conversations else (None, False)

    async def of_run(self, conversation_id: UUID, run: int) -> list[Event]:
        """Return a run's events without state changes, in order. Their number is bounded by the run's iterations."""
        return await self._database.rows_of(Event, "run: events", _of_run, {"id": conversation_id, "of_run": run})

    async def dialogue(self, conversation_id: UUID, last_run: int, limit: int) -> list[Event]:
        """Return the last ``limit`` events of all runs up to ``last_run``, ordered by run and sequence."""
        parameters = {"id": conversation_id, "of_run": last_run, "most": limit}
        events = await self._database.rows_of(Event, "run: dialogue", _dialogue, parameters)
        events.reverse()
        return events

    async def condensation(self, conversation_id: UUID) -> Condensation | None:
        """Return the conversation's summary; ``None`` if its history was never condensed."""
        rows = await self._database.rows_of(Condensation, "run: condensation", _condensation, {"id": conversation_id})
        return rows[0] if rows else None

    async def tool_call(self, conversation_id: UUID, sequence: int) -> ToolCall | None:
        """Return the call's state; ``None`` if it was neither decided about nor started."""
        parameters = {"id": conversation_id, "of_sequence": sequence}
        rows = await self._database.rows_of(ToolCall, "run: tool call", _tool_call, parameters)
        return rows[0] if rows else None

    async def settings(self, owner_id: str) -> Settings | None:
        """Return the owner's settings; ``None`` if there are none."""
        rows = await self._database.rows_of(Settings, "run: settings", _settings, {"of_owner": owner_id})
        return rows[0] if rows else None

    async def settings_and_accounts(self, owner_id: str) -> tuple[Settings | None, Sequence[ProviderAccount]]:
        """Return the owner's settings and provider accounts, ordered by provider, with one statement."""
        statement = self._database.compiled("run: settings and accounts", _settings_and_accounts)
        rows = [tuple(row) for row in await self._database.direct.read(statement, {"of_owner": owner_id})]
        dialect, width = self._database.reader.dialect, len(_SETTINGS.c)
        # The outer join gives a row with null ids for missing settings or accounts.
        settings = loaded(Settings, [row[:width] for row in rows[:1] if row[0] is not None], dialect)
        accounts = loaded(ProviderAccount, [row[width:] for row in rows if row[width] is not None], dialect)
        return (settings[0] if settings else None), accounts


def _conversation() -> ClauseElement:
    return select(*_CONVERSATION.c).where(_CONVERSATION.c.id == _ID)


def _conversation_and_replay() -> ClauseElement:
    is_replay = exists().where(_REPLAY_PROGRESS.c.conversation_id == _CONVERSATION.c.id)
    return select(*_CONVERSATION.c, is_replay).where(_CONVERSATION.c.id == _ID)


def _said() -> Select[tuple[object, ...]]:
    return select(*_EVENT.c).where(_EVENT.c.conversation_id == _ID, _EVENT.c.kind != EventKind.STATE_CHANGE.value)


def _of_run() -> ClauseElement:
    run = bindparam("of_run", type_=Integer())
    return _said().where(_EVENT.c.run == run).order_by(_EVENT.c.sequence)


def _dialogue() -> ClauseElement:
    run, most = bindparam("of_run", type_=Integer()), bindparam("most", type_=Integer())
    return _said().where(_EVENT.c.run <= run).order_by(_EVENT.c.run.desc(), _EVENT.c.sequence.desc()).limit(most)


def _condensation() -> ClauseElement:
    return select(*_CONDENSATION.c).where(_CONDENSATION.c.conversation_id == _ID)


def _tool_call() -> ClauseElement:
    sequence = bindparam("of_sequence", type_=BigInteger())
    return select(*_TOOL_CALL.c).where(_TOOL_CALL.c.conversation_id == _ID, _TOOL_CALL.c.sequence == sequence)


def _settings() -> ClauseElement:
    return select(*_SETTINGS.c).where(_SETTINGS.c.owner_id == bindparam("of_owner"))


def _settings_and_accounts() -> ClauseElement:
    settings = _OWNER.outerjoin(_SETTINGS, _SETTINGS.c.owner_id == _OWNER.c.id)
    both = settings.outerjoin(_PROVIDER_ACCOUNT, _PROVIDER_ACCOUNT.c.owner_id == _OWNER.c.id)
    columns = (*_SETTINGS.c, *_PROVIDER_ACCOUNT.c)
    owned = _OWNER.c.id == bindparam("of_owner")
    return select(*columns).select_from(both).where(owned).order_by(_PROVIDER_ACCOUNT.c.provider)
