"""A conversation's workspace: cloned once, kept while it is stopped, gone when it is deleted."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from tests.services.git.test_clone import git_processes
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN as ACCEPTED
from tests.support.fake_git import FakeGitProvider, repository
from tests.support.git_server import TOKEN, GitServer, git, git_server
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
NAME = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}
STAGES = ["Preparing the sandbox.", "Cloning ada/engine, branch main.", "The workspace is ready."]


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as started:
        started.token = ACCEPTED
        started.add({"README.md": "An engine.\n", "src/main.py": "print('hello')\n"})
        yield started


@pytest.fixture(scope="module")
def provider(git_host: GitServer) -> FakeGitProvider:
    return FakeGitProvider(found=[repository(1, "ada/engine")], clone_url=git_host.url())


@pytest.fixture(scope="module")
def server(
    data_dir: Path, database_url: str, provider: FakeGitProvider, git_host: GitServer
) -> Iterator[RunningServer]:
    with running_server(
        data_dir,
        database_url=database_url,
        git_providers={ProviderType.GITHUB: provider},
        git_private_hosts=git_host.origin,
    ) as started:
        yield started


@pytest.fixture(autouse=True)
def host_at_work(git_host: GitServer) -> Iterator[None]:
    """The git server answers, and was not asked yet."""
    git_host.requests.clear()
    git_host.gate.set()
    git_host.token = ACCEPTED
    yield
    git_host.gate.set()


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM) -> Client:
    """A caller with settings and a token."""
    await steps.save_settings(client, llm)
    await client.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": ACCEPTED})
    return client


async def create(client: Client, text: str | None = None) -> str:
    return cast("str", (await steps.create(client, text, repository=NAME))["id"])


async def told(client: Client, conversation_id: str) -> list[str]:
    """What the environment said."""
    return [text for source, text in await steps.said(client, conversation_id) if source == "ENVIRONMENT"]


async def until(question: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await question():  # noqa: ASYNC110  The answer is in another thread.
            await asyncio.sleep(0.02)


async def cloning(git_host: GitServer) -> None:
    """Return once git waits for the host's answer."""

    async def is_asked() -> bool:
        return bool(git_host.requests)

    await until(is_asked)


def workspace(server: RunningServer, conversation_id: str) -> Path:
    return server.config.data_dir / "workspaces" / conversation_id


def present(server: RunningServer, conversation_id: str) -> list[str]:
    """What lies in the directory of workspaces for this conversation."""
    return [path.name for path in workspace(server, conversation_id).parent.glob(f"{conversation_id}*")]


def exists(path: Path) -> bool:
    return path.exists()


async def test_the_start_tells_its_stages_and_then_the_message_is_answered(ada: Client, server: RunningServer) -> None:
    conversation_id = await create(ada, "Hello")
    await steps.until_waiting(ada, conversation_id)
    said = await steps.said(ada, conversation_id)
    assert said == [
        ("USER", "Hello"),
        *(("ENVIRONMENT", stage) for stage in STAGES),
        ("AGENT", "answer to Hello"),
    ]
    path = workspace(server, conversation_id)
    assert (path / "src" / "main.py").read_text() == "print('hello')\n"


async def test_without_a_message_it_waits_for_one(ada: Client, llm: ScriptedLLM) -> None:
    conversation_id = await create(ada)
    await steps.until_waiting(ada, conversation_id)
    assert await told(ada, conversation_id) == STAGES
    assert len(llm.requests) == 0


async def test_a_conversation_without_a_repository_tells_no_stages(ada: Client, git_host: GitServer) -> None:
    conversation = await steps.create(ada, "Hello")
    await steps.until_waiting(ada, conversation["id"])
    assert await told(ada, conversation["id"]) == []
    assert git_host.requests == []


@pytest.mark.parametrize("by", ["start", "message"])
async def test_a_failed_clone_is_told_and_can_be_tried_again(
    ada: Client, git_host: GitServer, server: RunningServer, by: str
) -> None:
    git_host.token = "another-token-0123456789"
    conversation_id = await create(ada, "Hello")
    failed = await steps.until(ada, conversation_id, status="ERROR")
    assert failed["statusReason"] == {
        "code": "WORKSPACE_ERROR",
        "messageId": "WORKSPACE_ERROR",
        "message": "The token may see ada/engine, but not read its contents: give it that scope.",
    }
    assert present(server, conversation_id) == []
    git_host.token = ACCEPTED
    if by == "start":
        await ada.execute(documents.START, input={"id": conversation_id})
    else:
        await steps.send(ada, conversation_id, "Again")
    await steps.until_waiting(ada, conversation_id)
    assert await told(ada, conversation_id) == [*STAGES[:2], *STAGES]
    assert exists(workspace(server, conversation_id) / "README.md")


async def test_the_token_is_nowhere_to_be_read(
    ada: Client, server: RunningServer, capfd: pytest.CaptureFixture[str]
) -> None:
    conversation_id = await create(ada, "Hello")
    await steps.until_waiting(ada, conversation_id)
    log = "".join(capfd.readouterr())
    assert "conversation.created" in log
    shown = [
        repr(await steps.events(ada, conversation_id)),
        repr(await ada.execute(documents.TRAJECTORY, id=conversation_id)),
        log,
    ]
    files = [path.read_bytes() for path in workspace(server, conversation_id).rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [text for text in shown if ACCEPTED in text] == []
    assert [content for content in files if ACCEPTED.encode() in content] == []


async def test_a_token_that_the_host_refuses_is_not_told_either(
    ada: Client, git_host: GitServer, capfd: pytest.CaptureFixture[str]
) -> None:
    git_host.token = "another-token-0123456789"
    conversation_id = await create(ada, "Hello")
    failed = await steps.until(ada, conversation_id, status="ERROR")
    assert git_host.requests != []
    log = "".join(capfd.readouterr())
    assert "conversation.created" in log
    shown = [repr(failed), repr(await steps.events(ada, conversation_id)), log]
    assert [text for text in shown if ACCEPTED in text] == []


async def test_a_stop_during_the_clone_is_effective_at_once(
    ada: Client, git_host: GitServer, server: RunningServer
) -> None:
    git_host.gate.clear()
    conversation_id = await create(ada, "Hello")
    await cloning(git_host)
    await ada.execute(documents.STOP, input={"id": conversation_id})

    async def is_over() -> bool:
        return not git_processes() and not present(server, conversation_id)

    await until(is_over)
    git_host.gate.set()
    assert (await steps.get(ada, conversation_id))["status"] == "STOPPED"
    await ada.execute(documents.START, input={"id": conversation_id})
    await steps.until_waiting(ada, conversation_id)
    assert exists(workspace(server, conversation_id) / "README.md")


async def test_a_deletion_during_the_clone_leaves_nothing(
    ada: Client, git_host: GitServer, server: RunningServer
) -> None:
    git_host.gate.clear()
    conversation_id = await create(ada, "Hello")
    await cloning(git_host)
    await ada.execute(documents.DELETE, input={"id": conversation_id})

    async def is_over() -> bool:
        return not git_processes() and not present(server, conversation_id)

    await until(is_over)
    git_host.gate.set()
    assert await ada.execute(documents.GET, id=conversation_id) == {"conversation": None}


async def test_a_stop_keeps_the_workspace_and_a_start_clones_nothing(
    ada: Client, git_host: GitServer, server: RunningServer
) -> None:
    conversation_id = await create(ada)
    await steps.until_waiting(ada, conversation_id)
    (workspace(server, conversation_id) / "mine.txt").write_text("mine")
    await ada.execute(documents.STOP, input={"id": conversation_id})
    asked = len(git_host.requests)
    await ada.execute(documents.START, input={"id": conversation_id})
    await steps.until_waiting(ada, conversation_id)
    assert (workspace(server, conversation_id) / "mine.txt").read_text() == "mine"
    assert len(git_host.requests) == asked
    assert await told(ada, conversation_id) == STAGES


async def test_a_deletion_removes_the_workspace_whatever_is_in_it(ada: Client, server: RunningServer) -> None:
    conversation_id = await create(ada)
    await steps.until_waiting(ada, conversation_id)
    closed = workspace(server, conversation_id) / "closed"
    closed.mkdir()
    (closed / "file").write_text("x")
    closed.chmod(0)
    await ada.execute(documents.DELETE, input={"id": conversation_id})

    async def is_gone() -> bool:
        return not present(server, conversation_id)

    await until(is_gone)


async def test_a_replay_clones_nothing_and_adds_no_stage(ada: Client, git_host: GitServer) -> None:
    conversation_id = await create(ada, "Hello")
    await steps.until_waiting(ada, conversation_id)
    document = (await ada.execute(documents.TRAJECTORY, id=conversation_id))["conversation"]["trajectory"]
    git_host.requests.clear()
    replayed = await steps.create(ada, replay=document)
    await steps.until_waiting(ada, replayed["id"])
    again = (await ada.execute(documents.TRAJECTORY, id=replayed["id"]))["conversation"]["trajectory"]
    assert again["events"] == document["events"]
    assert git_host.requests == []


async def test_what_was_cloned_is_a_repository_to_work_in(ada: Client, server: RunningServer) -> None:
    conversation_id = await create(ada)
    await steps.until_waiting(ada, conversation_id)
    path = workspace(server, conversation_id)
    assert git(path, "-c", f"safe.directory={path}", "status", "--porcelain", "--branch") == "## main...origin/main\n"
    assert TOKEN != ACCEPTED
