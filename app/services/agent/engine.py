"""The engine that owns runs: each is a durable workflow, so a run outlives the process that began it."""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from sqlalchemy.engine import URL

from app.models.database import is_outage
from app.services.agent.loop import AgentLoop, Outcome
from app.services.agent.takeover import Takeover
from app.services.wakeups import POLL_SECONDS, Wakeups, run_topic

log = structlog.get_logger(__name__)

WORKFLOW = "run"
STEP = "advance"
# Runs of an older release must be taken up by a newer one: the workflow's shape is what counts, not the code's hash.
APPLICATION_VERSION = "1"
EXECUTOR_THREADS = 16
PING_TIMEOUT_SECONDS = 2.0
PARK_SECONDS = 3.0
MAX_LISTED = 1000
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 30.0

T = TypeVar("T")


class RunEngine(Protocol):
    """Carries out runs, each exactly once at a time, until they are over; also after a crash."""

    async def start(self) -> None:
        """Begin to work; runs that a crash cut off go on."""
        ...

    async def submit(self, conversation_id: UUID, run: int, attempt: int = 0) -> None:
        """Carry out a run. Submitting the same attempt again changes nothing."""
        ...

    async def is_alive(self, conversation_id: UUID, run: int) -> bool:
        """Whether some attempt at the run will still be worked on."""
        ...

    async def ping(self) -> None:
        """Raise unless the engine works."""
        ...

    async def close(self) -> None:
        """Stop working; what is under way goes on after the next start."""
        ...


class DurableRunEngine:
    """DBOS Transact: a library whose workflows are rows, in SQLite or PostgreSQL.

    A workflow's id is ``conversation:run:attempt``; each advance of the loop is one of its steps. A step that was cut
    off is done again, which the loop bears, since it goes by the log. DBOS allows one instance in a process.
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
        self._steps: set[asyncio.Task[Outcome]] = set()
        self._working = 0
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self._submissions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Launch DBOS. It calls the workflows on this event loop."""
        config = DBOSConfig(
            name="parley",
            system_database_url=self._url.render_as_string(hide_password=False),
            application_version=APPLICATION_VERSION,
            executor_id=self.executor_id,
            serializer=DBOSPortableJSONSerializer(),
            max_executor_threads=EXECUTOR_THREADS,
            notification_listener_polling_interval_sec=1.0,
            log_level="WARNING",
            run_migrations=True,
        )
        DBOS(config=config)
        logging.getLogger("dbos").addFilter(_is_worth_telling)

        # DBOS marks what it decorates, which a bound method can't bear.
        @DBOS.step(name=STEP)
        async def step(conversation: str, number: int, attempt: int) -> str:
            return await self._step(UUID(conversation), number, attempt)

        async def run(conversation: str, number: int) -> None:
            self._count(1)
            try:
                attempt = await _until_answered(lambda: self._loop.begin(UUID(conversation), number))
                outcome = Outcome.CONTINUE if attempt is not None else Outcome.ENDED
                while attempt is not None and outcome == Outcome.CONTINUE:
                    if self._is_closing:
                        # DBOS may be gone by now, and would call a step of its own a failure.
                        await self._park()
                    outcome = await step(conversation, number, attempt)
                await self._submit_active(UUID(conversation), number)
            finally:
                self._count(-1)

        # The loop counts attempts itself, since a takeover does not count as one for DBOS.
        self._workflow = DBOS.workflow(name=WORKFLOW, max_recovery_attempts=1_000_000)(run)
        if self._takeover is not None:
            await self._takeover.start()
        DBOS.launch()

    async def submit(self, conversation_id: UUID, run: int, attempt: int = 0) -> None:
        """Start the workflow of a run, unless it was started before."""
        if self._workflow is None or self._is_closing:
            return
        with SetWorkflowID(_workflow_id(conversation_id, run, attempt)):
            await DBOS.start_workflow_async(self._workflow, str(conversation_id), run)

    async def is_alive(self, conversation_id: UUID, run: int) -> bool:
        """Whether one of the run's workflows is there and not over."""
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
        found = await DBOS.list_workflows_async(status="PENDING", limit=MAX_LISTED, load_input=False, load_output=False)
        return {workflow.executor_id for workflow in found if workflow.executor_id}

    async def resume(self, executor_id: str) -> int:
        """Take up an instance's unfinished runs; tells how many."""
        found = await DBOS.list_workflows_async(
            status="PENDING", executor_id=executor_id, limit=MAX_LISTED, load_input=False, load_output=False
        )
        for workflow in found:
            await DBOS.resume_workflow_async(workflow.workflow_id)
        return len(found)

    async def ping(self) -> None:
        """Ask the engine's database."""
        async with asyncio.timeout(PING_TIMEOUT_SECONDS):
            await DBOS.list_workflows_async(limit=1, load_input=False, load_output=False)

    async def close(self) -> None:
        """Cancel what is under way without its workflow being told, so that the next start takes it up."""
        self._is_closing = True
        for task in self._steps:
            task.cancel()
        # DBOS writes between two steps: none of its workflows should be there when it goes.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PARK_SECONDS):
                await self._is_quiet.wait()
        if self._takeover is not None:
            await self._takeover.close()
        if self._workflow is not None:
            await asyncio.to_thread(DBOS.destroy, destroy_registry=True, workflow_completion_timeout_sec=0)
            self._workflow = None
        self._is_closed.set()

    async def _step(self, conversation_id: UUID, run: int, attempt: int) -> str:
        if self._is_closing:
            await self._park()
        task = asyncio.create_task(
            _until_answered(lambda: self._loop.advance(conversation_id, run, attempt)),
            name=f"run {conversation_id}:{run}",
        )
        self._steps.add(task)
        try:
            with self._wakeups.listen(run_topic(conversation_id)) as listener:
                while not task.done():
                    waiter = asyncio.create_task(listener.wait(POLL_SECONDS))
                    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
                    waiter.cancel()
                    if not task.done() and not await self._may_go_on(conversation_id, run, attempt):
                        task.cancel()
                        await asyncio.wait({task})
        finally:
            self._steps.discard(task)
            task.cancel()
        if self._is_closing:
            await self._park()
        return Outcome.ENDED if task.cancelled() else task.result()

    async def _may_go_on(self, conversation_id: UUID, run: int, attempt: int) -> bool:
        try:
            return await self._loop.log_of(conversation_id, run, attempt).is_active()
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
        active = await _until_answered(lambda: self._loop.active_run(conversation_id))
        if active is None or active == run:
            return
        # In a context of its own, or DBOS would take it for a child of this workflow. A crash before it is made up for
        # at the next start, since the conversation's active run says what has to run.
        task = asyncio.get_running_loop().create_task(
            self.submit(conversation_id, active), context=contextvars.Context()
        )
        self._submissions.add(task)
        task.add_done_callback(self._submissions.discard)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """DBOS warns of every workflow that ends with the process and has no outcome, which is what is meant to happen."""
    return not record.getMessage().startswith("Asyncio task cancelled for workflow or step")


def _workflow_id(conversation_id: UUID, run: int, attempt: int) -> str:
    return f"{conversation_id}:{run}:{attempt}"


async def _until_answered(work: Callable[[], Awaitable[T]]) -> T:
    """Do the work, again and again while the database can't be reached: its outage must not end a run."""
    pause = FIRST_RETRY_SECONDS
    while True:
        try:
            return await work()
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("run.database_unreachable", error=type(error).__name__)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LAST_RETRY_SECONDS)
