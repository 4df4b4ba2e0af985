"""Demo data for front-end developers: conversations in every status, in a temporary database."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.config import AuthMode
from app.errors import ErrorCode
from app.main import Parley
from app.models.conversation import (
    AgentState,
    Conversation,
    ConversationStatus,
    ConversationTrigger,
    Problem,
    fold,
)
from app.models.event import EventBody, EventSource, EventUsage, MessageBody, NewEvent, ToolCallBody, ToolResultBody
from app.models.git_repository import GitRepository, GitRepositoryRepository
from app.models.owner import OwnerRepository
from app.services.agent.run_log import append_with_usage
from app.services.auth.authenticator import LOCAL_CALLER_ID
from app.services.clock import utc_now
from app.services.lifecycle import moves
from app.services.settings import DEFAULT_LLM_MODEL, UpdateSettings

USER, AGENT, ENVIRONMENT = EventSource.USER, EventSource.AGENT, EventSource.ENVIRONMENT
USAGE = EventUsage(DEFAULT_LLM_MODEL, 120, 60, 0.0)
# Additional conversations, so that the list has a second page.
OTHERS = 30

SETTINGS: dict[str, object] = {
    "auth": AuthMode.NONE,
    "max_concurrent_conversations": 1000,
    # A blank value turns a setting off, even if the environment has it.
    **dict.fromkeys(
        ("database_url", "secret_key", "jwt_secret", "jwt_jwks_url", "jwt_jwks_file", "idle_close_seconds"), ""
    ),
}
"""Settings of the demo server, which take precedence over the environment."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A conversation of the demo, with its status and the events of its log."""

    title: str
    status: ConversationStatus
    state: AgentState | None
    events: Sequence[tuple[EventSource, EventBody]]
    problem: Problem | None = None
    trigger: ConversationTrigger = ConversationTrigger.GUI
    has_repository: bool = False
    waits_for_confirmation: bool = False
    is_archived: bool = False


async def seed(parley: Parley) -> None:
    """Save settings with the demo model, and insert the conversations, the oldest first."""
    await parley.services.settings.update(
        LOCAL_CALLER_ID, UpdateSettings(llm_model=DEFAULT_LLM_MODEL, confirmation_mode=True)
    )
    repository_id = await _add_repository(parley)
    scenes = [*_others(), *_statuses()]
    for age, scene in zip(range(len(scenes), 0, -1), scenes, strict=True):
        conversation_id = await _add(parley, scene, timedelta(hours=age * age), repository_id)
        if scene.waits_for_confirmation:
            await parley.engine.submit(conversation_id, 1)


async def _add_repository(parley: Parley) -> UUID:
    repository = GitRepository(
        owner_id=LOCAL_CALLER_ID,
        provider="GITHUB",
        host="github.com",
        external_id="1",
        name_with_owner="ada/analytical-engine",
        url="https://github.com/ada/analytical-engine",
        clone_url="https://github.com/ada/analytical-engine.git",
        is_private=False,
        default_branch_name="main",
        seen_at=utc_now(),
    )
    async with parley.database.write() as session:
        GitRepositoryRepository(session).add(repository)
    return repository.id


async def _add(parley: Parley, scene: Scene, age: timedelta, repository_id: UUID) -> UUID:
    moment = utc_now() - age
    conversation = Conversation(
        owner_id=LOCAL_CALLER_ID,
        title=scene.title,
        title_folded=fold(scene.title),
        status=ConversationStatus.STARTING,
        trigger=scene.trigger,
        repository_id=repository_id if scene.has_repository else None,
        branch_name="main" if scene.has_repository else None,
        created_at=moment,
        updated_at=moment,
    )
    if scene.is_archived:
        conversation.archive(moment)
    async with parley.database.write() as session:
        await OwnerRepository(session).lock(LOCAL_CALLER_ID)
        await moves.create(session, conversation, moment, message=None)
        for number, (source, body) in enumerate(scene.events, start=1):
            usage = USAGE if source is AGENT else None
            moment += timedelta(seconds=4 * number)
            append_with_usage(session, conversation, 1, [NewEvent(source, body, usage)], moment)
        if scene.waits_for_confirmation:
            await moves.work(session, conversation, moment, AgentState.RUNNING)
        else:
            await moves.settle(session, conversation, moment, scene.status, scene.state, scene.problem)
    return conversation.id


def _said(question: str, answer: str) -> list[tuple[EventSource, EventBody]]:
    return [(USER, MessageBody(question)), (AGENT, MessageBody(answer))]


def _worked(question: str, command: str, output: str, *, is_error: bool = False) -> list[tuple[EventSource, EventBody]]:
    return [
        (USER, MessageBody(question)),
        (AGENT, ToolCallBody("call-1", "run_command", {"command": command}, "I look at it first.")),
        (ENVIRONMENT, ToolResultBody(2, output, is_error=is_error)),
    ]


def _statuses() -> Iterator[Scene]:
    """Yield a scene for each status, and for RUNNING one for each agent state."""
    yield from _ended()
    yield from _running()


def _ended() -> Iterator[Scene]:
    yield Scene("Tidy up the release notes", ConversationStatus.STOPPED, None, _said("Tidy them up.", "They are tidy."))
    yield Scene("Explain the build", ConversationStatus.STOPPED, None, _said("How is it built?", "With make."))
    yield Scene(
        "Upgrade the database driver",
        ConversationStatus.ERROR,
        None,
        _worked("Upgrade it.", "pip list --outdated", "asyncpg 0.30 0.32"),
        Problem(ErrorCode.STATUS_ERROR_LLM_AUTHENTICATION, "The provider refused the API key."),
    )
    yield Scene(
        "Clone a repository that is not there",
        ConversationStatus.ERROR,
        None,
        [(USER, MessageBody("Have a look at it.")), (ENVIRONMENT, MessageBody("Cloning ada/analytical-engine."))],
        Problem(ErrorCode.WORKSPACE_ERROR, "The branch main does not exist."),
        ConversationTrigger.RESOLVER,
        has_repository=True,
    )


def _running() -> Iterator[Scene]:
    running = ConversationStatus.RUNNING
    tests = "2 passed, 1 failed: test_division_by_zero"
    yield Scene(
        "Port the suite to the new runner",
        running,
        AgentState.PAUSED,
        _worked("Port it.", "pytest -q", tests, is_error=True),
        Problem(ErrorCode.LIMIT_REACHED, "The agent has reached its limit of 100 iterations."),
    )
    yield Scene("Rate-limited by the provider", running, AgentState.RATE_LIMITED, [(USER, MessageBody("Go on."))])
    yield Scene("Reject the proposal", running, AgentState.REJECTED, _said("Drop it all.", "I would rather not."))
    yield Scene("Write the changelog", running, AgentState.FINISHED, _said("Write it.", "It is written."))
    yield Scene("Load the workspace", running, AgentState.LOADING, [(USER, MessageBody("Are you there?"))])
    yield Scene(
        "Find the slow query",
        running,
        AgentState.RUNNING,
        _worked("Which query is slow?", "grep -rn select app | head", "app/models/event.py:120: select(Event)"),
        trigger=ConversationTrigger.API,
    )
    yield Scene("Set up the sandbox", ConversationStatus.STARTING, None, [(USER, MessageBody("Begin."))])
    yield Scene(
        "Fix the failing test",
        running,
        AgentState.RUNNING,
        [
            *_worked("Fix the failing test.", "pytest -q", tests, is_error=True),
            (AGENT, ToolCallBody("call-2", "run_command", {"command": "git diff --stat"}, "I see what has changed.")),
        ],
        trigger=ConversationTrigger.SUGGESTED_TASK,
        has_repository=False,
        waits_for_confirmation=True,
    )
    yield Scene(
        "Say hello",
        running,
        AgentState.AWAITING_USER_INPUT,
        _said("Hello! What can you do?", "I am a demonstration, and answer without an LLM. Send me a message."),
    )


def _others() -> Iterator[Scene]:
    subjects = ("parser", "scheduler", "cache", "login page", "search", "importer")
    works = ("Review the {}", "Document the {}", "Speed up the {}", "Test the {}", "Rewrite the {}")
    for number in range(OTHERS):
        subject = subjects[number % len(subjects)]
        title = works[number % len(works)].format(subject)
        yield Scene(
            title,
            ConversationStatus.STOPPED,
            None,
            _said(f"{title}, please.", f"I have read the {subject}, and wrote down what I found."),
            trigger=list(ConversationTrigger)[number % len(ConversationTrigger)],
            has_repository=number % 3 == 0,
        )
