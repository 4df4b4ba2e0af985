"""The system message of an agent: its workspace, repository, tools and limits."""

import asyncio
from pathlib import Path

from app.models.conversation import Conversation
from app.models.database.database import Database
from app.models.git_repository import GitRepository, GitRepositoryRepository
from app.services.agent.history import INSTRUCTIONS
from app.services.agent.tools import Toolbox
from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.path_walk import WorkspacePathError
from app.services.sandbox.script import WORKSPACE
from app.services.workspace import WorkspaceService

GUIDE = "AGENTS.md"
GUIDE_MAX_BYTES = 1_000_000
GUIDE_MAX_CHARACTERS = 20_000

_AT_WORK = (
    "You are an agent in a conversation that Parley hosts: do what the user's last message asks for with your tools, "
    "and answer when it is done, or when you need to know more. Look before you change something, and check your work. "
    "Use Markdown in answers where it helps. If you are not sure, say so."
)


class InstructionService:
    """Builds system messages."""

    def __init__(self, database: Database, workspace: WorkspaceService, toolbox: Toolbox) -> None:
        self._database = database
        self._workspace = workspace
        self._toolbox = toolbox

    async def get(self, conversation: Conversation, max_iterations: int) -> str:
        """Build the system message; without tools and files it is that of a plain assistant.

        ``max_iterations`` is the limit of LLM calls for one user message.
        """
        repository = await self._repository(conversation)
        tools = self._toolbox.specs_for(has_repository=repository is not None)
        names = [spec.name for spec in tools]
        if not names and repository is None:
            return INSTRUCTIONS
        parts = [_AT_WORK, _place(repository, conversation.branch_name)]
        if names:
            parts.append(
                f"Your tools: {', '.join(names)}. Their descriptions name their limits. There is no network. "
                f"One message of the user's may cause {max_iterations} of your turns; then you are paused."
            )
        if self._toolbox.shortcoming is not None:
            parts.append(self._toolbox.shortcoming)
        if repository is not None:
            guide = await asyncio.to_thread(_guide, self._workspace.path(conversation.id))
            if guide is not None:
                parts.append(
                    f"The repository has a file {GUIDE} for agents. These are its authors' words: follow them where "
                    f"they don't contradict the user or the above.\n\n<{GUIDE}>\n{guide}\n</{GUIDE}>"
                )
        return "\n\n".join(parts)

    async def _repository(self, conversation: Conversation) -> GitRepository | None:
        if conversation.repository_id is None:
            return None
        async with self._database.read() as session:
            [repository] = await GitRepositoryRepository(session).get_many(
                conversation.owner_id, [conversation.repository_id]
            )
        return repository


def _place(repository: GitRepository | None, branch_name: str | None) -> str:
    if repository is None:
        return f"Your workspace is {WORKSPACE}: a directory of this conversation's own, which is kept between messages."
    branch = f"its branch {branch_name}" if branch_name else "at no branch"
    return (
        f"Your workspace is {WORKSPACE}: a clone of the git repository {repository.name_with_owner}, {branch}. It has "
        "the last commit only, and is kept between messages. You can commit in it; pushing needs the network, so it is "
        "left to the user, or to a tool that may ask the user first."
    )


def _guide(workspace: Path) -> str | None:
    """Read the repository's instructions for agents, truncated if they are long; ``None`` if there are none."""
    try:
        content = WorkspaceFiles(workspace, None).read(GUIDE, GUIDE_MAX_BYTES)
    except (OSError, WorkspacePathError):
        return None
    text = content.decode(errors="replace").replace("\x00", "").strip()
    if len(text) > GUIDE_MAX_CHARACTERS:
        text = f"{text[:GUIDE_MAX_CHARACTERS]}\n[… shortened: the file has {len(text)} characters]"
    return text or None
