"""Fixtures of an agent's tools with a workspace, with and without a shell."""

from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from app.services.agent.command_tools import CommandTools
from app.services.agent.file_tools import FileTools
from app.services.agent.tools import Toolbox, ToolContext, ToolOutput
from app.services.sandbox.bubblewrap import BubblewrapSandbox
from app.services.sandbox.shell import Shell
from tests.support.sandboxes import LIMITS

SECRET = "the server's own"


class Agent:
    """The tools of an agent with a workspace, and files of the server outside it."""

    def __init__(self, root: Path, shell: Shell) -> None:
        self.conversation_id = uuid4()
        self._root = root
        self.workspace = self._path(self.conversation_id)
        self.workspace.mkdir(parents=True, mode=0o700)
        (root / "secret.key").write_text(SECRET)
        tools = [*CommandTools(shell, self._path).tools(), *FileTools(self._path, shell.limits).tools()]
        self.toolbox = Toolbox(tools, shell)

    def _path(self, conversation_id: UUID) -> Path:
        return self._root / "workspaces" / str(conversation_id)

    async def call(self, name: str, **arguments: object) -> ToolOutput:
        """Call a tool, and return its output or error."""
        return await self.toolbox.run(ToolContext(self.conversation_id), name, arguments)

    async def told(self, name: str, **arguments: object) -> str:
        """Call a tool that must succeed, and return its output."""
        result = await self.call(name, **arguments)
        assert not result.is_error, result.output
        return result.output

    async def fault(self, name: str, **arguments: object) -> str:
        """Call a tool that must fail, and return its error."""
        result = await self.call(name, **arguments)
        assert result.is_error, result.output
        return result.output

    def outside(self) -> Mapping[str, str]:
        """Return the files outside the workspace, by path, with their content."""
        files = (path for path in self._root.rglob("*") if path.is_file() and self.workspace not in path.parents)
        return {str(path.relative_to(self._root)): path.read_text() for path in files}


@pytest.fixture
async def agent(tmp_path: Path) -> Agent:
    """Build an agent with a shell; needs a sandbox that works on this machine."""
    shell = Shell(BubblewrapSandbox(), LIMITS)
    await shell.start()
    return Agent(tmp_path, shell)


@pytest.fixture
async def unarmed(tmp_path: Path) -> Agent:
    """Build an agent without a shell."""
    shell = Shell(None, LIMITS)
    await shell.start()
    return Agent(tmp_path, shell)
