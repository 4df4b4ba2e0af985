"""The engine that owns runs: each is a durable workflow, so a run outlives the process that began it."""

import asyncio
import contextlib
import contextvars
import itertools
import logging
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
from app.services.push.wakeups import POLL_SECONDS, Wakeups, run_topic

log = structlog.get_logger(__name__)

WORKFLOW = "run"
# Runs of an older release must be taken up by a newer one: the workflow's shape is what counts, not the code's hash.
APPLICATION_VERSION = "1"
EXECUTOR_THREADS = 16
PARK_SECONDS = 3.0
MAX_LISTED = 1000
# DBOS would try again by itself while its database is away, at intervals that come to a minute.
ANSWER_SECONDS = 2.0
FORGET_SECONDS = 10.0
# A tool may take longer to end.
LET_GO_SECONDS = 0.5
# No workflow has a schedule.
UNUSED_POLL_SECONDS = 3600.0
_OVER = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]


class RunEngine(Protocol):
    """Carries out runs, each exactly once at a time, until they are over; also after a crash."""

    async def start(self) -> None:
        """Begin to work; runs that a crash cut off go on."""
        ...

    async def submit(self, conversation_id: UUID, run: int, attempt: int = 0) -> None:
        """Carry out a run. Submitting the same attempt again changes nothing."""
        ...

    async def let_go(self, conversation_id: UUID) -> None:
        """Return once a conversation's run that was ended does nothing more here, or after a moment."""
        ...

    async def is_alive(self, conversation_id: UUID, run: int) -> bool:
        """Whether some attempt at the run will still be worked on."""
        ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete what is kept of up to ``limit`` runs that were over before then; tells how many."""
        ...

    async def ping(self) -> None:
        """Raise unless the engine works."""
        ...

    async def close(self) -> None:
        """Stop working; what is under way goes on after the next start."""
        ...


class DurableRunEngine:
    """DBOS Transact: a library whose workflows are rows, in SQLite or PostgreSQL.

    A workflow's id is ``conversation:run:attempt``. DBOS knows that it has begun and that it is over, and nothing in
    between: an advance that was cut off is done again, which the loop bears, since it goes by the log. Between the two
    an outage is waited for by the run alone, since DBOS may sleep for a minute more. It allows one instance in a
    process.
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
        logging.getLogger("dbos").addFilter(_is_worth_telling)

        # DBOS marks what it decorates, which a bound method can't bear.
        async def run(conversation: str, number: int) -> None:
            self._count(1)
            try:
                run_log = await until_answered(lambda: self._loop.begin(UUID(conversation), number))
                outcome = Outcome.CONTINUE if run_log is not None else Outcome.ENDED
                while run_log is not None and outcome == Outcome.CONTINUE:
                    outcome = await self._advance(run_log)
                if run_log is None or not run_log.is_last:
                    await self._submit_active(UUID(conversation), number)
            finally:
                self._count(-1)

        # The loop counts attempts itself, since a takeover does not count as one for DBOS.
        self._workflow = DBOS.workflow(name=WORKFLOW, max_recovery_attempts=1_000_000)(run)
        if self._takeover is not None:
            await self._takeover.start()
        try:
            DBOS.launch()
        except Exception as error:
            # All that is asked of it by now are the engine's own tables.
            if not is_outage(error) and not isinstance(error, DBAPIError):
                raise
            raise DatabaseTrouble(f"the engine's database can't be used: {reason(error)}") from error

    async def submit(self, conversation_id: UUID, run: int, attempt: int = 0) -> None:
        """Start the workflow of a run, unless it was started before.

        Where the database is away, that is done when it is back: what is to run stands in the conversation's row.
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
        # DBOS may have written down the one whose answer was lost, and would not begin it a second time. Should both
        # begin after all, the later one alone writes.
        workflow_ids = (f"{_workflow_id(conversation_id, run, attempt)}:{number}" for number in itertools.count(1))

        async def submit() -> None:
            # Asked first, so that DBOS is asked only where there is an answer.
            if await self._loop.active_run(conversation_id) == run:
                await self._start_workflow(next(workflow_ids), conversation_id, run)

        await until_answered(submit)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        # In a context of its own, or DBOS would take it for a child of the workflow that begins it. A crash before it
        # is made up for at the next start, since the conversation's active run says what has to run.
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._submissions.add(task)
        task.add_done_callback(self._submissions.discard)

    async def let_go(self, conversation_id: UUID) -> None:
        """Wait for the run's task, which keeps what was read of an answer before it ends."""
        tasks = {task for task in self._advances if task.get_name().startswith(f"run {conversation_id}:")}
        if tasks:
            await asyncio.wait(tasks, timeout=LET_GO_SECONDS)

    async def is_alive(self, conversation_id: UUID, run: int) -> bool:
        """Whether one of the run's workflows is there and not over."""
        async with asyncio.timeout(ANSWER_SECONDS):
            found = await DBOS.list_workflows_async(
                workflow_id_prefix=f"{conversation_id}:{run}:",
                status=["PENDING", "ENQUEUED", "DELAYED"],
                limit=1,
                load_input=False,
                load_output=False,
            )
        return bool(found)

    async def executors(self) -> set[str]:
        """The instances that own unfinished runs."""
        async with asyncio.timeout(ANSWER_SECONDS):
            found = await DBOS.list_workflows_async(
                status="PENDING", limit=MAX_LISTED, load_input=False, load_output=False
            )
        return {workflow.executor_id for workflow in found if workflow.executor_id}

    async def resume(self, executor_id: str) -> int:
        """Take up an instance's unfinished runs; tells how many."""
        found = await DBOS.list_workflows_async(
            status="PENDING", executor_id=executor_id, limit=MAX_LISTED, load_input=False, load_output=False
        )
        for workflow in found:
            await DBOS.resume_workflow_async(workflow.workflow_id)
        return len(found)

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete rows of workflows, the oldest first. Whatever is submitted again later finds its run over."""
        async with asyncio.timeout(FORGET_SECONDS):
            found = await DBOS.list_workflows_async(
                status=_OVER,
                completed_before=before.astimezone(UTC).isoformat(),
                limit=limit,
                load_input=False,
                load_output=False,
            )
            if found:
                await DBOS.delete_workflows_async([workflow.workflow_id for workflow in found])
        return len(found)

    async def ping(self) -> None:
        """Ask the engine's database."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await DBOS.list_workflows_async(limit=1, load_input=False, load_output=False)

    async def close(self) -> None:
        """Cancel what is under way without its workflow being told, so that the next start takes it up."""
        self._is_closing = True
        for task in (*self._advances, *self._submissions):
            task.cancel()
        # DBOS writes at a workflow's end: none should come to it when it goes.
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
        """Wait for the end of the engine, then end the workflow as a crash would: it stays pending."""
        self._count(-1)
        try:
            await self._is_closed.wait()
        finally:
            self._count(1)
        raise asyncio.CancelledError

    def _count(self, change: int) -> None:
        """Keep the number of workflows that do something, and are not parked."""
        self._working += change
        if self._working:
            self._is_quiet.clear()
        else:
            self._is_quiet.set()

    async def _submit_active(self, conversation_id: UUID, run: int) -> None:
        """Submit the run that is the active one now that this one has ended."""
        active = await until_answered(lambda: self._loop.active_run(conversation_id))
        if active is None or active == run:
            return
        self._in_background(self.submit(conversation_id, active))


# A workflow that ends with the process has no outcome, as is meant to happen; a failed launch is raised as well.
_NOT_WORTH_TELLING = ("Asyncio task cancelled for workflow or step", "DBOS failed to launch")


def _is_worth_telling(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_NOT_WORTH_TELLING)


def _workflow_id(conversation_id: UUID, run: int, attempt: int) -> str:
    return f"{conversation_id}:{run}:{attempt}"
