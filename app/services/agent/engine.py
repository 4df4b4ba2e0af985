"""The run engine: each run is a durable workflow of DBOS, which survives the process that started it."""

import asyncio
import contextlib
import contextvars
import importlib
import itertools
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from app.models.database.database import DatabaseTrouble, is_outage, reason
from app.services.agent.loop import AgentLoop, Outcome
from app.services.agent.run_log import RunLog
from app.services.agent.takeover import Takeover
from app.services.outage import until_answered
from app.services.pacing import Pacing, give_way
from app.services.push.wakeups import POLL_SECONDS, Wakeups, run_topic

log = structlog.get_logger(__name__)

WORKFLOW = "run"
# By default DBOS uses a hash of the code, and a newer release would not resume the runs of an older one.
APPLICATION_VERSION = "1"
EXECUTOR_THREADS = 16
PARK_SECONDS = 3.0
MAX_LISTED = 1000
# Time limit for DBOS: by itself it retries while its database is away, with pauses of up to a minute.
ANSWER_SECONDS = 2.0
FORGET_SECONDS = 10.0
# A run whose tool takes longer to end is not waited for.
LET_GO_SECONDS = 0.5
# No workflow is scheduled, delayed or has a deadline, so DBOS need not look for due ones.
UNUSED_POLL_SECONDS = 3600.0
# DBOS's own interval. On PostgreSQL it keeps a transaction open for so long.
JOBS_POLL_SECONDS = 1.0
_OVER = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]


class RunEngine(Protocol):
    """Executes runs until they are over, also after a crash. No run is executed twice at the same time."""

    async def start(self) -> None:
        """Start the engine, and resume the runs that a crash interrupted."""
        ...

    async def submit(self, conversation_id: UUID, run: int, attempt: int = 0) -> None:
        """Start executing a run. Idempotent for the same attempt."""
        ...

    async def let_go(self, conversation_id: UUID) -> None:
        """Wait, for half a second at most, until this process no longer executes a run that was ended."""
        ...

    async def is_alive(self, conversation_id: UUID, run: int) -> bool:
        """Tell whether a workflow of the run exists that is not over."""
        ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete the engine's rows of up to ``limit`` runs that were over at that time, and return their number."""
        ...

    async def ping(self) -> None:
        """Raise an error if the engine's database does not answer."""
        ...

    async def close(self) -> None:
        """Stop the engine. Unfinished runs are resumed by the next start."""
        ...


class DurableRunEngine:
    """The engine on DBOS Transact, a library that stores workflows as rows in SQLite or PostgreSQL.

    A workflow's id is ``conversation:run:attempt``. Its steps are not stored: DBOS only knows that a workflow has begun
    and that it is over. A step that was interrupted is repeated, which is safe, since ``AgentLoop`` decides by the log.
    The workflow itself waits for a database that is away, since DBOS would pause for up to a minute more. There can be
    one instance in a process.
    """

    def __init__(self, url: URL, loop: AgentLoop, wakeups: Wakeups) -> None:
        self._loop = loop
        self._wakeups = wakeups
        self._is_embedded = url.get_backend_name() == "sqlite"
        if self._is_embedded:
            beside = Path(url.database or "")
            self._url = URL.create("sqlite", database=str(beside.with_name(f"{beside.stem}-engine{beside.suffix}")))
        else:
            self._url = url.set(drivername="postgresql+psycopg")
        # A shared id would make two processes on one PostgreSQL run the same workflow; on SQLite there is one process.
        self.executor_id = "local" if self._is_embedded else str(uuid4())
        self._takeover = None if self._is_embedded else Takeover(url, self.executor_id, self)
        self._workflow: Callable[[str, int], Coroutine[Any, Any, None]] | None = None
        self._pacing = Pacing()
        self._is_closing = False
        self._is_closed = asyncio.Event()
        self._advances: set[asyncio.Task[Outcome]] = set()
        self._working = 0
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self._submissions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Launch DBOS. It calls the workflows on this event loop. Raises DatabaseTrouble."""
        config = DBOSConfig(
            name="parley",
            system_database_url=self._url.render_as_string(hide_password=False),
            application_version=APPLICATION_VERSION,
            executor_id=self.executor_id,
            serializer=DBOSPortableJSONSerializer(),
            max_executor_threads=EXECUTOR_THREADS,
            # Its thread sleeps so long at the end as well.
            notification_listener_polling_interval_sec=1.0,
            scheduler_polling_interval_sec=UNUSED_POLL_SECONDS,
            log_level="WARNING",
            run_migrations=True,
        )
        DBOS(config=config)
        _set_jobs_interval(UNUSED_POLL_SECONDS if self._is_embedded else JOBS_POLL_SECONDS)
        logging.getLogger("dbos").addFilter(_is_unexpected)

        # DBOS sets attributes on the function that it decorates, which a bound method does not allow.
        async def run(conversation: str, number: int) -> None:
            self._count(1)
            try:
                async with self._pacing.slot():
                    if self._is_closing:
                        await self._park()
                    run_log = await until_answered(lambda: self._loop.begin(UUID(conversation), number))
                    outcome = await self._advance(run_log) if run_log is not None else Outcome.ENDED
                while run_log is not None and outcome == Outcome.CONTINUE:
                    outcome = await self._advance(run_log)
                if run_log is None or not run_log.is_last:
                    await self._submit_active(UUID(conversation), number)
            finally:
                self._count(-1)

        # ``AgentLoop`` counts attempts itself, since DBOS does not count a takeover as one.
        self._workflow = DBOS.workflow(name=WORKFLOW, max_recovery_attempts=1_000_000)(run)
        if self._takeover is not None:
            await self._takeover.start()
        try:
            if self._is_embedded:
                _use_write_ahead_log(str(self._url.database))
            DBOS.launch()
        except Exception as error:
            # Only the engine's own tables have been used so far, so any database error concerns them.
            if not is_outage(error) and not isinstance(error, DBAPIError | sqlite3.Error):
                raise
            raise DatabaseTrouble(f"the engine's database can't be used: {reason(error)}") from error

    async def submit(self, conversation_id: UUID, run: int, attempt: int = 0) -> None:
        """Start the workflow of a run, unless it was started before.

        If the database is away, a background task does it later; the conversation's row says which run is active.
        """
        try:
            await self._start_workflow(_workflow_id(conversation_id, run, attempt), conversation_id, run)
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("run.not_submitted", conversation_id=str(conversation_id), error=type(error).__name__)
            self._in_background(self._submit_later(conversation_id, run, attempt))

    async def _start_workflow(self, workflow_id: str, conversation_id: UUID, run: int) -> None:
        if self._workflow is None or self._is_closing:
            return
        async with asyncio.timeout(ANSWER_SECONDS):
            with SetWorkflowID(workflow_id):
                await DBOS.start_workflow_async(self._workflow, str(conversation_id), run)

    async def _submit_later(self, conversation_id: UUID, run: int, attempt: int) -> None:
        # DBOS may have stored a workflow although its answer was lost, and would not start one of the same id again.
        # If both start, only the later attempt can write.
        workflow_ids = (f"{_workflow_id(conversation_id, run, attempt)}:{number}" for number in itertools.count(1))

        async def submit() -> None:
            # Fails at once if the database is still away, where DBOS would wait.
            if await self._loop.active_run(conversation_id) == run:
                await self._start_workflow(next(workflow_ids), conversation_id, run)

        await until_answered(submit)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        # The empty context keeps DBOS from taking it for a child of the current workflow. If the process crashes first,
        # the next start submits the run, since it is the conversation's active one.
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._submissions.add(task)
        task.add_done_callback(self._submissions.discard)

    async def let_go(self, conversation_id: UUID) -> None:
        """Wait for the task of the conversation's run, which stores a partial answer before it ends."""
        tasks = {task for task in self._advances if task.get_name().startswith(f"run {conversation_id}:")}
        if tasks:
            await asyncio.wait(tasks, timeout=LET_GO_SECONDS)

    async def is_alive(self, conversation_id: UUID, run: int) -> bool:
        """Tell whether a workflow of the run exists that is not over."""
        async with asyncio.timeout(ANSWER_SECONDS):
            workflows = await DBOS.list_workflows_async(
                workflow_id_prefix=f"{conversation_id}:{run}:",
                status=["PENDING", "ENQUEUED", "DELAYED"],
                limit=1,
                load_input=False,
                load_output=False,
            )
        return bool(workflows)

    async def executors(self) -> set[str]:
        """Return the ids of instances with unfinished runs."""
        async with asyncio.timeout(ANSWER_SECONDS):
            workflows = await DBOS.list_workflows_async(
                status="PENDING", limit=MAX_LISTED, load_input=False, load_output=False
            )
        return {workflow.executor_id for workflow in workflows if workflow.executor_id}

    async def resume(self, executor_id: str) -> int:
        """Resume the unfinished runs of an instance, and return their number."""
        workflows = await DBOS.list_workflows_async(
            status="PENDING", executor_id=executor_id, limit=MAX_LISTED, load_input=False, load_output=False
        )
        for workflow in workflows:
            await DBOS.resume_workflow_async(workflow.workflow_id)
        return len(workflows)

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete workflows, the oldest first. A deleted run that is submitted again ends at once: it is not active."""
        async with asyncio.timeout(FORGET_SECONDS):
            workflows = await DBOS.list_workflows_async(
                status=_OVER,
                completed_before=before.astimezone(UTC).isoformat(),
                limit=limit,
                load_input=False,
                load_output=False,
            )
            if workflows:
                await DBOS.delete_workflows_async([workflow.workflow_id for workflow in workflows])
        return len(workflows)

    async def ping(self) -> None:
        """Run a small query on the engine's database. Raises its errors."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await DBOS.list_workflows_async(limit=1, load_input=False, load_output=False)

    async def close(self) -> None:
        """Cancel the runs, but leave their workflows unfinished, so that the next start resumes them."""
        self._is_closing = True
        for task in (*self._advances, *self._submissions):
            task.cancel()
        # DBOS writes when a workflow ends, so all have to be parked before it is destroyed.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PARK_SECONDS):
                await self._is_quiet.wait()
        if self._takeover is not None:
            await self._takeover.close()
        if self._workflow is not None:
            await asyncio.to_thread(DBOS.destroy, destroy_registry=True, workflow_completion_timeout_sec=0)
            self._workflow = None
        self._is_closed.set()

    async def _advance(self, run_log: RunLog) -> Outcome:
        if self._is_closing:
            await self._park()
        task = asyncio.create_task(
            until_answered(lambda: self._loop.advance(run_log)), name=f"run {run_log.conversation_id}:{run_log.run}"
        )
        self._advances.add(task)
        try:
            with self._wakeups.listen(run_topic(run_log.conversation_id)) as listener:
                while not task.done():
                    waiter = asyncio.create_task(listener.wait(POLL_SECONDS))
                    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
                    waiter.cancel()
                    if not task.done() and not await self._may_go_on(run_log):
                        task.cancel()
                        await asyncio.wait({task})
        finally:
            self._advances.discard(task)
            task.cancel()
        if self._is_closing:
            await self._park()
        return Outcome.ENDED if task.cancelled() else task.result()

    @staticmethod
    async def _may_go_on(run_log: RunLog) -> bool:
        try:
            return await run_log.is_active()
        except Exception as error:
            if is_outage(error):
                return True
            raise

    async def _park(self) -> None:
        """Wait until the engine is closed, then end the workflow as a crash would: it stays pending."""
        give_way()
        self._count(-1)
        try:
            await self._is_closed.wait()
        finally:
            self._count(1)
        raise asyncio.CancelledError

    def _count(self, change: int) -> None:
        """Count the workflows that are not parked, and set ``_is_quiet`` when there are none."""
        self._working += change
        if self._working:
            self._is_quiet.clear()
        else:
            self._is_quiet.set()

    async def _submit_active(self, conversation_id: UUID, run: int) -> None:
        """After the end of a run, submit the one that has become active, if any."""
        active = await until_answered(lambda: self._loop.active_run(conversation_id))
        if active is None or active == run:
            return
        self._in_background(self.submit(conversation_id, active))


def _set_jobs_interval(seconds: float) -> None:
    """Set how often DBOS looks for delayed workflows and deadlines, for which it has no setting."""
    commands = importlib.import_module("dbos._workflow_commands")
    setattr(commands, "_BACKGROUND_JOBS_INTERVAL_SEC", seconds)  # noqa: B010  a module has no such name to a type checker


def _use_write_ahead_log(path: str) -> None:
    """Store WAL as the file's journal mode, which DBOS's connections follow. Raises sqlite3.Error.

    A commit then syncs one file instead of two, in 0.2 ms of CPU instead of 0.6. It is as durable as before, since DBOS
    leaves ``synchronous`` at SQLite's default, FULL.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=ANSWER_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


# Expected messages of DBOS: a workflow that is parked has no outcome, and a failed launch also raises an error.
_EXPECTED_MESSAGES = ("Asyncio task cancelled for workflow or step", "DBOS failed to launch")


def _is_unexpected(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_EXPECTED_MESSAGES)


def _workflow_id(conversation_id: UUID, run: int, attempt: int) -> str:
    return f"{conversation_id}:{run}:{attempt}"
