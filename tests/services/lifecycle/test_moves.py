"""Every move of a conversation from every state it can be in: what follows, or that it is refused."""

import ast
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, InvalidState
from app.models.conversation import AgentState, Conversation, ConversationStatus, Problem
from app.models.database.database import Database
from app.models.event import EventRepository, MessageBody, StateChangeBody, decode_body
from app.models.migration import upgrade
from app.models.owner import OwnerRepository
from app.models.status_change import StatusChangeRepository
from app.services.lifecycle import moves

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = "ada"
WHY = Problem(ErrorCode.WORKSPACE_ERROR, "The disk is gone.")
RUN = 3


@dataclass(frozen=True, slots=True)
class State:
    """Where a conversation is. ``active`` is its active run, ``last`` the last one that was handed out."""

    status: ConversationStatus
    agent: AgentState | None = None
    active: int | None = None
    last: int = RUN
    reason: ErrorCode | None = None


STARTING = State(ConversationStatus.STARTING, None, RUN)
WORKING = State(ConversationStatus.RUNNING, AgentState.RUNNING, RUN)
QUEUED = State(ConversationStatus.RUNNING, AgentState.RUNNING, RUN, RUN + 2)
ASKING = State(ConversationStatus.RUNNING, AgentState.AWAITING_USER_CONFIRMATION, RUN)
WAITING = State(ConversationStatus.RUNNING, AgentState.AWAITING_USER_INPUT)
PAUSED = State(ConversationStatus.RUNNING, AgentState.PAUSED, reason=WHY.code)
STOPPED = State(ConversationStatus.STOPPED)
FAILED = State(ConversationStatus.ERROR, reason=WHY.code)
ALL = {
    "starting": STARTING,
    "working": WORKING,
    "queued": QUEUED,
    "asking": ASKING,
    "waiting": WAITING,
    "paused": PAUSED,
    "stopped": STOPPED,
    "failed": FAILED,
}
RESTARTED = State(ConversationStatus.STARTING, None, RUN + 1, RUN + 1)
STOPPED_AGAIN = State(ConversationStatus.STOPPED, last=RUN)
STOPPED_QUEUE = State(ConversationStatus.STOPPED, last=RUN + 2)
NEXT = State(ConversationStatus.RUNNING, AgentState.RUNNING, RUN + 1, RUN + 1)

Move = Callable[[AsyncSession, Conversation], Awaitable[object]]
MOVES: dict[str, Move] = {
    "receive": lambda session, row: moves.receive(session, row, NOW, MessageBody("Hello")),
    "start": lambda session, row: moves.start(session, row, NOW),
    "stop": lambda session, row: moves.stop(session, row, NOW),
    "work": lambda session, row: moves.work(session, row, NOW, AgentState.LOADING),
    "end_run": lambda session, row: moves.end_run(session, row, NOW, RUN),
    "pause": lambda session, row: moves.end_run(session, row, NOW, RUN, WHY),
    "fail": lambda session, row: moves.fail(session, row, NOW, WHY),
}

# What a user asks for; ``None`` is refused.
ASKED: dict[str, dict[str, State | None]] = {
    "receive": {
        "starting": State(ConversationStatus.STARTING, None, RUN, RUN + 1),
        "working": State(ConversationStatus.RUNNING, AgentState.RUNNING, RUN, RUN + 1),
        "queued": State(ConversationStatus.RUNNING, AgentState.RUNNING, RUN, RUN + 3),
        "asking": State(ConversationStatus.RUNNING, AgentState.AWAITING_USER_CONFIRMATION, RUN, RUN + 1),
        "waiting": NEXT,
        "paused": NEXT,
        "stopped": RESTARTED,
        "failed": RESTARTED,
    },
    "start": dict.fromkeys(ALL) | {"stopped": RESTARTED, "failed": RESTARTED},
    "stop": dict.fromkeys(ALL)
    | dict.fromkeys(("starting", "working", "asking", "waiting", "paused"), STOPPED_AGAIN)
    | {"queued": STOPPED_QUEUE},
}
# What a run does to its own conversation: it is refused by the run's log once another run is active.
DONE: dict[str, dict[str, State]] = {
    "work": dict.fromkeys(("starting", "working", "asking"), State(ConversationStatus.RUNNING, AgentState.LOADING, RUN))
    | {"queued": State(ConversationStatus.RUNNING, AgentState.LOADING, RUN, RUN + 2)},
    "end_run": dict.fromkeys(("starting", "working", "asking"), WAITING)
    | {"queued": State(ConversationStatus.RUNNING, AgentState.RUNNING, RUN + 1, RUN + 2)},
    "pause": dict.fromkeys(("starting", "working", "asking"), PAUSED)
    | {"queued": State(ConversationStatus.RUNNING, AgentState.RUNNING, RUN + 1, RUN + 2)},
    "fail": dict.fromkeys(("starting", "working", "asking"), FAILED)
    | {"queued": State(ConversationStatus.ERROR, None, None, RUN + 2, WHY.code)},
}
TABLE = [
    (move, name, after) for moves_of in (ASKED, DONE) for move, ends in moves_of.items() for name, after in ends.items()
]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    found = Database(make_url(f"sqlite+aiosqlite:///{tmp_path / 'parley.db'}"))
    await upgrade(found)
    yield found
    await found.close()


def row_in(state: State) -> Conversation:
    """A conversation that is there already, with a past that the test need not play."""
    return Conversation(
        owner_id=OWNER,
        title="T",
        title_folded="t",
        trigger="GUI",
        status=state.status,
        agent_state=state.agent,
        reason_code=state.reason.name if state.reason else None,
        reason_message=WHY.message if state.reason else None,
        status_sequence=1,
        active_run=state.active,
        last_run=state.last,
        run_attempts=2,
        created_at=NOW,
        updated_at=NOW,
    )


def state_of(row: Conversation) -> State:
    reason = ErrorCode[row.reason_code] if row.reason_code else None
    agent = AgentState(row.agent_state) if row.agent_state else None
    return State(ConversationStatus(row.status), agent, row.active_run, row.last_run, reason)


@pytest.mark.parametrize(("move", "name", "after"), TABLE, ids=[f"{move} {name}" for move, name, _ in TABLE])
async def test_each_move_from_each_state(database: Database, move: str, name: str, after: State | None) -> None:
    before = ALL[name]
    async with database.write() as session:
        await OwnerRepository(session).ensure(OWNER, NOW)
        row = row_in(before)
        session.add(row)
        await session.flush()
        if after is None:
            with pytest.raises(InvalidState) as caught:
                await MOVES[move](session, row)
            assert (caught.value.status, state_of(row)) == (before.status, before)
        else:
            await MOVES[move](session, row)
            assert state_of(row) == after
            # A run that became the active one begins anew; one that goes on keeps its count.
            assert row.run_attempts == (0 if after.active not in (None, before.active) else 2)
            is_waiting = after.agent in (AgentState.AWAITING_USER_INPUT, AgentState.PAUSED)
            assert (row.waiting_since == NOW) == (is_waiting and after != before)
        changes = await StatusChangeRepository(session).after(OWNER, 0, 10)
        told = [(each.previous_status, each.status, each.agent_state) for each in changes]
        is_told = after is not None and (before.status, before.agent) != (after.status, after.agent)
        assert told == ([(before.status, after.status, after.agent)] if is_told and after is not None else [])


def test_the_table_has_each_move_from_each_state() -> None:
    assert all(ends.keys() == ALL.keys() for ends in ASKED.values())
    at_work = {name for name, state in ALL.items() if state.active is not None}
    assert all(ends.keys() == at_work for ends in DONE.values())
    assert ASKED.keys() | DONE.keys() == MOVES.keys()


@pytest.mark.parametrize("message", [None, MessageBody("Hello")])
async def test_a_new_conversation_starts_with_its_first_message(
    database: Database, message: MessageBody | None
) -> None:
    async with database.write() as session:
        await OwnerRepository(session).ensure(OWNER, NOW)
        row = row_in(STOPPED)
        row.status_sequence = row.last_run = 0
        await moves.create(session, row, NOW, message=message)
        assert state_of(row) == State(ConversationStatus.STARTING, None, 1, 1)
        assert [decode_body(event) for event in await EventRepository(session).after(row.id, 0, 10)] == (
            [message] if message is not None else []
        )
        [change] = await StatusChangeRepository(session).after(OWNER, 0, 10)
        assert (change.previous_status, change.status) == (None, "STARTING")


@pytest.mark.parametrize(("move", "logged"), [("stop", AgentState.PAUSED), ("fail", AgentState.ERROR)])
async def test_the_log_tells_a_state_where_the_conversation_has_none(
    database: Database, move: str, logged: AgentState
) -> None:
    async with database.write() as session:
        await OwnerRepository(session).ensure(OWNER, NOW)
        row = row_in(WORKING)
        session.add(row)
        await session.flush()
        await MOVES[move](session, row)
        [event] = await EventRepository(session).after(row.id, 0, 10)
        assert decode_body(event) == StateChangeBody(logged, WHY if move == "fail" else None)


@pytest.mark.parametrize("move", ["receive", "start"])
async def test_a_message_or_a_start_brings_an_archived_conversation_back(database: Database, move: str) -> None:
    async with database.write() as session:
        await OwnerRepository(session).ensure(OWNER, NOW)
        row = row_in(STOPPED)
        row.archive(NOW)
        session.add(row)
        await session.flush()
        await MOVES[move](session, row)
        assert (row.is_archived, row.archived_at) == (False, None)


@pytest.mark.parametrize(
    ("name", "after"), [*((name, "STOPPED") for name in ALL if name != "failed"), ("failed", "ERROR")]
)
async def test_what_is_archived_runs_no_more_and_is_told_once(database: Database, name: str, after: str) -> None:
    async with database.write() as session:
        await OwnerRepository(session).ensure(OWNER, NOW)
        row = row_in(ALL[name])
        before = row.status
        row.archive(NOW)
        session.add(row)
        await session.flush()
        await moves.organise(session, row, NOW)
        [change] = await StatusChangeRepository(session).after(OWNER, 0, 10)
        assert (change.previous_status, change.status, row.status, row.active_run) == (before, after, after, None)
        assert change.sequence == row.status_sequence


async def test_a_removed_conversation_is_told_and_gone(database: Database) -> None:
    async with database.write() as session:
        await OwnerRepository(session).ensure(OWNER, NOW)
        row = row_in(STOPPED)
        session.add(row)
        await session.flush()
        await moves.remove(session, row, NOW)
        [change] = await StatusChangeRepository(session).after(OWNER, 0, 10)
        assert (change.is_deletion, change.status) == (True, "STOPPED")
        assert await moves.lock(session, row) is None


def test_nothing_else_assigns_a_status_or_a_run() -> None:
    columns = {"agent_state", "reason_code", "status_sequence", "active_run", "last_run", "run_attempts"}
    app = Path(moves.__file__).parents[2]
    assigned: set[str] = set()
    for path in app.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found = {each.attr for each in targets if isinstance(each, ast.Attribute)} & columns
            # Only what begins with `self` is an object of another kind.
            own = any(isinstance(each, ast.Attribute) and ast.unparse(each.value) == "self" for each in targets)
            if found and not own:
                assigned.add(str(path.relative_to(app)))
    assert assigned == {"services/lifecycle/moves.py"}
