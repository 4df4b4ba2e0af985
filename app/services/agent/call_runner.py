"""Runs tool calls, each at most once: asks the user for confirmation if needed, runs the tool, appends the result."""

from app.models.conversation import AgentState, Conversation
from app.models.database.database import Database
from app.models.event import EventSource, NewEvent, ToolCallBody, ToolResultBody
from app.models.run_reads import RunReads
from app.models.run_writes import RunWrites
from app.models.settings import Settings, publish_policy
from app.models.tool_call import ToolCall, ToolCallRepository
from app.services.agent.run_log import RunEnded, RunLog
from app.services.agent.tool_stream import ToolStream
from app.services.agent.tools import Toolbox, ToolContext, ToolOutput
from app.services.lifecycle import moves
from app.services.message import storable
from app.services.outage import until_answered
from app.services.push.wakeups import POLL_SECONDS, Wakeups, run_topic, workspace_topic
from app.services.secrets.redaction import Redactor
from app.services.settings import SettingsService

CUT_OFF = (
    "This call was cut off by a restart of the server before its result was written down. It may have been carried out "
    "in whole or in part: look before you repeat it."
)
CUT_SHORT = (
    "This call was not run: the answer reached the limit on its length, or was ended by the provider, before the "
    "arguments were whole. Ask again with shorter arguments, or do the work in several calls."
)
REFUSED = "The user refused this call."


class CallRunner:
    """Runs one call at a time for each run. One instance serves all conversations.

    A call's progress is stored in a ``ToolCall`` row. After a crash, a call that awaited confirmation waits again, and
    one that had begun is not repeated.
    """

    def __init__(self, database: Database, wakeups: Wakeups, settings: SettingsService, toolbox: Toolbox) -> None:
        self._reads = RunReads(database)
        self._wakeups = wakeups
        self._settings = settings
        self._toolbox = toolbox

    async def run(self, run_log: RunLog, conversation: Conversation, sequence: int, body: ToolCallBody) -> None:
        """Run a call, after the user's confirmation if that is needed, and append its result. Raises RunEnded.

        ``confirmation_mode`` and the publish policy are read once, before the call begins: a call that is waiting goes
        on waiting if the user would not be asked any more.
        """
        if body.is_cut:
            await run_log.append(
                [NewEvent(EventSource.ENVIRONMENT, ToolResultBody(sequence, CUT_SHORT, is_error=True))]
            )
            return
        settings, secrets = await self._settings.with_secrets(conversation.owner_id)
        redactor = Redactor(secrets)
        call = None if run_log.take_new_call(sequence) else await self._read(run_log, sequence)
        if call is None and self._needs_confirmation(conversation, body, settings):
            call = await self._ask(run_log, sequence)
        if call is not None and call.begun_at is None and call.approved is None:
            call = await self._decision(run_log, sequence)
        if call is not None and call.begun_at is not None:
            result = ToolOutput(CUT_OFF, is_error=True)
        elif call is not None and not call.approved:
            result = ToolOutput(f"{REFUSED} {call.reason}" if call.reason else REFUSED, is_error=True)
        else:
            # Can be repeated safely. Without it, an outage here would be reported as an interrupted call.
            await until_answered(lambda: self._begin(run_log, sequence))
            is_confirmed = call is not None and bool(call.approved)
            result = await self._execute(conversation, sequence, body, redactor, is_confirmed=is_confirmed)
        answer = ToolResultBody(sequence, redactor.text(storable(result.output)), result.truncated, result.is_error)
        await run_log.append([NewEvent(EventSource.ENVIRONMENT, answer)])

    def _needs_confirmation(self, conversation: Conversation, body: ToolCallBody, settings: Settings | None) -> bool:
        if settings is not None and settings.confirmation_mode:
            return True
        policy = publish_policy(settings)
        return self._toolbox.needs_confirmation(conversation, body.tool_name, body.arguments, policy)

    async def _read(self, run_log: RunLog, sequence: int) -> ToolCall | None:
        return await self._reads.tool_call(run_log.conversation_id, sequence)

    async def _ask(self, run_log: RunLog, sequence: int) -> ToolCall:
        """Insert a row for the call, and set the agent's state to AWAITING_USER_CONFIRMATION."""
        async with run_log.writing() as (session, conversation):
            call = ToolCall(conversation_id=conversation.id, sequence=sequence)
            ToolCallRepository(session).add(call)
            await moves.work(session, conversation, run_log.now(), AgentState.AWAITING_USER_CONFIRMATION)
        return call

    async def _decision(self, run_log: RunLog, sequence: int) -> ToolCall:
        """Wait until the user has confirmed or refused the call. Raises RunEnded."""
        with self._wakeups.listen(run_topic(run_log.conversation_id)) as listener:
            while True:
                call = await self._read(run_log, sequence)
                if call is None or not await run_log.is_active():
                    raise RunEnded
                if call.approved is not None:
                    return call
                await listener.wait(POLL_SECONDS)

    async def _begin(self, run_log: RunLog, sequence: int) -> None:
        """Record that the call has begun, before its tool runs."""
        async with run_log.stepping(keeps_status=True) as (unit, conversation):
            RunWrites(unit).begin_call(conversation.id, sequence, run_log.now())

    async def _execute(
        self, conversation: Conversation, sequence: int, body: ToolCallBody, redactor: Redactor, *, is_confirmed: bool
    ) -> ToolOutput:
        stream = ToolStream(self._wakeups, conversation.id, sequence, redactor)
        try:
            context = ToolContext(conversation.id, stream.write, conversation.owner_id, is_confirmed)
            result = await self._toolbox.run(context, body.tool_name, body.arguments)
        except BaseException:
            stream.abandon()
            raise
        finally:
            if self._toolbox.changes_files(body.tool_name):
                self._wakeups.publish(workspace_topic(conversation.id))
        stream.close()
        return result
