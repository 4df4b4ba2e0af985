"""Commands that mean harm, given to a real server by its own agent.

Each ends with an error to the agent, the server answers all the while, and nothing outside the workspace changes.
"""

import asyncio
import hashlib
import json
import os
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio

from tests.support import documents
from tests.support.paths import ROOT
from tests.support.patience import WAIT_SECONDS
from tests.support.processes import ServerProcess
from tests.support.sandboxes import MEBIBYTE, needs_sandbox
from tests.support.scripted_llm import Call, ScriptedLLM, text, tools

pytestmark = [needs_sandbox, pytest.mark.asyncio(loop_scope="module")]

JSON = dict[str, Any]
SOURCE = Path(__file__).read_text()
DOCUMENT = (ROOT / "docs" / "agent.md").read_text()
ENVIRONMENT_SECRET = "environment-secret-0123456789abcdef"
PRIVATE = "what another conversation wrote"
SETTINGS = {
    "secret_key": ENVIRONMENT_SECRET,
    "command_timeout_seconds": "3",
    "command_cpu_seconds": "3",
    "command_memory_bytes": str(96 * MEBIBYTE),
    "command_processes": "48",
    "command_file_bytes": str(16 * MEBIBYTE),
    "workspace_max_bytes": str(24 * MEBIBYTE),
    "max_concurrent_conversations": "1000",
}


class Victim:
    """A server that runs what its agent is told to, and what must not change."""

    def __init__(self, server: ServerProcess, llm: ScriptedLLM, data_dir: Path) -> None:
        self.server = server
        self.data_dir = data_dir
        self._llm = llm
        self.other = ""
        self.last = "none"

    async def run(self, command: str) -> JSON:
        """Have the agent of a new conversation run a command; the result's event."""
        arguments = json.dumps({"command": command})
        self._llm.script(tools(Call("run_command", arguments)), text("Done"))
        given = {"title": "T", "initialMessage": {"text": "Do your worst"}}
        created = (await self.server.execute(documents.CREATE, input=given))["createConversation"]
        assert created["userErrors"] == []
        conversation_id: str = created["conversation"]["id"]
        async with asyncio.timeout(WAIT_SECONDS):
            while await self._state(conversation_id) != "AWAITING_USER_INPUT":  # noqa: ASYNC110  As clients poll.
                await asyncio.sleep(0.05)
        data = await self.server.execute(documents.EVENTS, id=conversation_id, first=100)
        [result] = [
            event for event in data["conversation"]["events"]["nodes"] if event["__typename"] == "ToolResultEvent"
        ]
        self.last = conversation_id
        return result

    async def _state(self, conversation_id: str) -> str:
        found = (await self.server.execute(documents.GET, id=conversation_id))["conversation"]
        assert found["status"] in {"STARTING", "RUNNING"}, found["statusReason"]
        return str(found["agentState"])

    def words(self, command: str) -> str:
        """A command with the names of this server in it."""
        port = self.server.url.rsplit(":", 1)[1]
        names = {"data": self.data_dir, "other": self.other, "pid": self.server.pid, "port": port}
        for name, value in names.items():
            command = command.replace(f"<{name}>", str(value))
        return command

    def untouched(self) -> Mapping[str, str]:
        """What no command may change: everything of the server but its database, its log and this workspace."""
        kept: dict[str, str] = {}
        for path in sorted(self.data_dir.rglob("*")):
            is_own = path.name.startswith(("parley", "log-")) or self.last in path.parts
            if not is_own and path.is_file() and not path.is_symlink():
                kept[str(path)] = f"{path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        return kept


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory, scripted_llm: ScriptedLLM) -> AsyncGenerator[Victim]:
    """A server with another conversation's workspace."""
    scripted_llm.reset()
    data_dir = tmp_path_factory.mktemp("victim")
    server = ServerProcess(data_dir, **SETTINGS)
    try:
        await server.start()
        settings = {"llmModel": "openai/scripted", "llmBaseUrl": scripted_llm.url, "llmApiKey": "sk-hostile-0123456789"}
        await server.execute(documents.UPDATE_SETTINGS, input=settings)
        victim = Victim(server, scripted_llm, data_dir)
        result = await victim.run(f"echo '{PRIVATE}' > private.txt")
        assert not result["isError"], result["output"]
        victim.other = victim.last
        (data_dir / "secret.key").write_text("the key of the server")
        yield victim
    finally:
        await server.close()


@asynccontextmanager
async def always_answering(server: ServerProcess) -> AsyncGenerator[None]:
    """Ask the server whether it lives, again and again, until the block ends; it must answer every time."""
    is_over = asyncio.Event()
    answers: list[int] = []

    async def ask() -> None:
        async with httpx.AsyncClient(timeout=5) as client:
            while not is_over.is_set():
                answers.append((await client.get(f"{server.url}/health/live")).status_code)
                await asyncio.sleep(0.05)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        is_over.set()
        await asking
    assert set(answers) == {200}


def python(*lines: str) -> str:
    """A command that runs a program."""
    return "python3 - <<'END'\n" + "\n".join(lines) + "\nEND"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param("cat <data>/parley.db", "No such file", id="the database"),
        pytest.param("find / -name 'parley*.db*' 2>/dev/null | grep .", "", id="the database anywhere"),
        pytest.param("cat <data>/secret.key", "No such file", id="the key file"),
        pytest.param("find / -name secret.key 2>/dev/null | grep .", "", id="the key file anywhere"),
        pytest.param("grep -as PARLEY_ /proc/1/environ", "", id="the first process's environment"),
        pytest.param("cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep ^PARLEY_", "", id="every environment"),
        pytest.param("cat /proc/<pid>/environ", "No such file", id="the server's environment"),
        pytest.param("ls -la /proc/1/cwd/ /proc/1/root/<data>", "No such file", id="the first process's root"),
        pytest.param("cat <data>/workspaces/<other>/private.txt", "No such file", id="another workspace"),
        pytest.param("cat /workspace/../<other>/private.txt", "No such file", id="another workspace beside"),
        pytest.param("grep -rs 'another conversation' / --include=private.txt", "", id="another workspace anywhere"),
        pytest.param("kill -9 <pid>", "No such process", id="killing the server"),
        pytest.param("kill -9 -1; sleep 10", "", id="killing everything"),
        pytest.param(":(){ :|:& };: ; sleep 10", "", id="a fork bomb"),
        pytest.param("while true; do sleep 100 & done", "", id="processes without end"),
        pytest.param("cp $(command -v sleep) x; cat /dev/urandom | tail -c 1G", "", id="memory of one process"),
        pytest.param(
            python("x = []", "while True: x.append(bytearray(1 << 20))"), "MemoryError", id="memory step by step"
        ),
        pytest.param(
            "for i in 1 2 3 4; do head -c 60M /dev/zero | tail -c 60M | sleep 9 & done; wait",
            "memory",
            id="memory of many",
        ),
        pytest.param(
            "for i in $(seq 20); do head -c 8M /dev/zero > /dev/shm/$i || exit; done",
            "No space left",
            id="shared memory",
        ),
        pytest.param(
            "for i in $(seq 20); do head -c 8M /dev/zero > /tmp/$i || exit; done",
            "No space left",
            id="the temporary directory",
        ),
        pytest.param(
            python(
                "import os, time",
                "for _ in range(20):",
                " fd = os.memfd_create('x')",
                " for _ in range(8): os.write(fd, bytes(1 << 20))",
                "time.sleep(10)",
            ),
            "memory",
            id="memory without a name",
        ),
        pytest.param("for i in $(seq 1000); do head -c 8M /dev/zero > $i; done", "workspace is larger", id="the disk"),
        pytest.param("head -c 1G /dev/zero > big", "File size limit|too large", id="one large file"),
        pytest.param(
            python(
                "import os, time",
                "for n in range(20):",
                " fd = os.open('x', os.O_CREAT | os.O_RDWR)",
                " os.unlink('x')",
                " for _ in range(8): os.write(fd, bytes(1 << 20))",
                "time.sleep(10)",
            ),
            "workspace is larger",
            id="the disk without a name",
        ),
        pytest.param("yes", "16 MiB of output", id="endless output"),
        pytest.param(
            "trap '' TERM INT HUP QUIT; while true; do sleep 1; done", "longer than 3 s", id="ignored signals"
        ),
        pytest.param("while :; do :; done & while :; do :; done", "", id="processors"),
        pytest.param("unshare --user --map-root-user id", "unshare failed", id="a user namespace"),
        pytest.param("unshare --mount id", "unshare failed", id="a mount namespace"),
        pytest.param("bwrap --ro-bind / / id", "", id="a sandbox in the sandbox"),
        pytest.param("mount -t tmpfs none /tmp", "mount", id="mounting"),
        pytest.param("mount -o remount,rw /usr", "mount", id="mounting anew"),
        pytest.param("echo x > /usr/bin/evil", "Read-only", id="the system's programs"),
        pytest.param("echo x > /etc/passwd", "Read-only|denied", id="the passwords"),
        pytest.param("mknod disk b 254 0", "not permitted", id="a device"),
        pytest.param("ls /dev/sd* /dev/vd* /dev/mem /dev/kmsg", "No such file", id="devices"),
        pytest.param(
            "[ -w /proc/sysrq-trigger ] || [ -w /proc/sys/kernel/core_pattern ]", "", id="the system's switches"
        ),
        pytest.param("chown 0:0 . ; chmod u+s . ; su -c id", "", id="becoming root"),
        pytest.param("exec 3<>/dev/tcp/127.0.0.1/<port>", "refused", id="the server's port"),
        pytest.param("exec 3<>/dev/tcp/192.0.2.1/80", "unreachable", id="the network outside"),
        pytest.param("exec 3<>/dev/tcp/169.254.169.254/80", "unreachable", id="the metadata address"),
        pytest.param(python("import socket", "socket.getaddrinfo('example.com', 80)"), "gaierror", id="names"),
        pytest.param("cat /proc/keys", "denied", id="the list of keys"),
        pytest.param(
            python(
                "import ctypes, platform",
                "keyctl = {'x86_64': 250}.get(platform.machine(), 219)",
                "libc = ctypes.CDLL(None, use_errno=True)",
                # The id of the session's keyring, which is made where there is none.
                "found = libc.syscall(keyctl, 0, -3, 1)",
                "raise OSError(ctypes.get_errno(), found)",
            ),
            "Errno 38",
            id="the keyring of the server",
        ),
        pytest.param("ls /run/docker.sock /var/run /home /root /work", "No such file", id="other places"),
        pytest.param(
            "rm -rf .parley && ln -s <data> .parley; seq 100000; false", "exit code 1", id="a link for the server"
        ),
        pytest.param(
            "mkdir -p .parley && ln -sf <data>/secret.key .parley/directory; exit 1",
            "exit code 1",
            id="a link for its notes",
        ),
    ],
)
async def test_a_hostile_command_ends_with_an_error_and_harms_nothing(victim: Victim, command: str, said: str) -> None:
    victim.last = "none"
    before = victim.untouched()
    server = psutil.Process(victim.server.pid)
    async with always_answering(victim.server):
        result = await victim.run(victim.words(command))
    assert result["isError"], result["output"]
    assert not said or any(words in result["output"] for words in said.split("|")), result["output"]
    for secret in (ENVIRONMENT_SECRET, PRIVATE, "the key of the server", "SQLite format"):
        assert secret not in result["output"]
    assert victim.untouched() == before
    assert server.is_running()
    # What it began is gone together with it.
    async with asyncio.timeout(WAIT_SECONDS):
        while server.children(recursive=True):  # noqa: ASYNC110  The system has no event for it.
            await asyncio.sleep(0.02)


async def test_nothing_of_the_server_can_be_seen_from_inside(victim: Victim) -> None:
    result = await victim.run(
        "env; id; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls /; cat /etc/passwd; ip address; true"
    )
    assert not result["isError"]
    assert "PARLEY_" not in result["output"]
    assert "app serve" not in result["output"]
    assert "uid=1000(agent) gid=1000(agent) groups=1000(agent)" in result["output"]
    assert "\nroot:" not in result["output"]
    assert os.environ.get("HOME", "/nowhere") + "\n" not in result["output"]


async def test_every_attempt_stands_in_the_documentation() -> None:
    attempts = re.findall(r'\bid="([^"]+)"', SOURCE)
    assert len(attempts) > 40
    assert [name for name in attempts if f"`{name}`" not in DOCUMENT] == []
