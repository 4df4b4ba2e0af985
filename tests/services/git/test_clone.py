"""Cloning, with the real git from a real git server."""

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from app.config import Config, load_config
from app.errors import WorkspaceFailure
from app.services.git.base import CloneSource
from app.services.git.clone import GitCloner
from tests.support.git_server import TOKEN, GitServer, git, git_server
from tests.support.patience import WAIT_SECONDS

README = {"README.md": "An engine.\n"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "served") as started:
        yield started


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "clone"


def config(server: GitServer, **settings: object) -> Config:
    return load_config(env_file=None, git_private_hosts=server.origin, **settings)


def cloner(server: GitServer, **settings: object) -> GitCloner:
    return GitCloner(config(server, **settings))


async def asked(server: GitServer) -> None:
    """Return once git waits for an answer."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not server.requests:  # noqa: ASYNC110  The server is in another thread.
            await asyncio.sleep(0.01)


def git_processes() -> list[psutil.Process]:
    """Those of this process that have not ended; servers of other tests are none of them."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "git" in process.name() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def exists(path: Path) -> bool:
    return path.exists()


def entries(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def files_with(text: str, directory: Path) -> list[Path]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert files != []
    return [path for path in files if text.encode() in path.read_bytes()]


async def test_the_default_branch_is_cloned_alone_and_shallow(server: GitServer, target: Path) -> None:
    server.add(README, branches=("main", "next"))
    await cloner(server).clone(server.source(), target, branch=None)
    assert (target / "README.md").read_text() == "An engine.\n"
    assert git(target, "branch", "--remotes", "--format=%(refname:lstrip=3)").split() == ["HEAD", "main"]
    assert git(target, "rev-parse", "--is-shallow-repository") == "true\n"


async def test_a_branch_is_fetched_beside_a_clone_with_its_history(server: GitServer, target: Path) -> None:
    bare = server.add(README, branches=("main", "topic"))
    work = server.root / "work" / "ada/engine"
    for number in (2, 3):
        git(work, "commit", "--quiet", "--allow-empty", "--message", f"Commit {number}")
    git(work, "push", "--quiet", os.fspath(bare), "HEAD:refs/heads/main")
    await cloner(server).clone(server.source(), target, branch="main")
    assert git(target, "rev-list", "--count", "HEAD") == "1\n"
    commit = await cloner(server).fetch(server.source(), target, "main", "origin")
    assert (commit, git(target, "rev-list", "--count", "HEAD")) == (git(bare, "rev-parse", "main").strip(), "3\n")
    # It has all of the history already.
    topic = await cloner(server).fetch(server.source(), target, "topic", "upstream")
    assert git(target, "rev-parse", "upstream/topic", "HEAD~2").split() == [topic, topic]
    assert git(target, "rev-parse", "--is-shallow-repository") == "false\n"
    assert files_with(TOKEN, target) == []
    with pytest.raises(WorkspaceFailure, match="no branch named none"):
        await cloner(server).fetch(server.source(), target, "none", "origin")
    (work / "large").write_bytes(os.urandom(2 << 20))
    git(work, "add", "large")
    git(work, "commit", "--quiet", "--message", "Grow")
    git(work, "push", "--quiet", os.fspath(bare), "HEAD:refs/heads/main")
    with pytest.raises(WorkspaceFailure, match="larger than 1048576 bytes"):
        await cloner(server, workspace_max_bytes=1 << 20).fetch(server.source(), target, "main", "origin")


async def test_the_named_branch_is_cloned(server: GitServer, target: Path) -> None:
    server.add(README, branches=("main", "feature/next"))
    await cloner(server).clone(server.source(), target, branch="feature/next")
    assert git(target, "branch", "--show-current") == "feature/next\n"


async def test_a_repository_without_commits_gives_an_empty_one(server: GitServer, target: Path) -> None:
    server.add({})
    await cloner(server).clone(server.source(), target, branch=None)
    assert entries(target) == [".git"]


@pytest.mark.parametrize(
    ("name", "token", "branch", "reason"),
    [
        ("ada/engine", TOKEN, "absent", "The repository has no branch named absent."),
        ("ada/engine", TOKEN, "--upload-pack=touch x", "The repository has no branch named --upload-pack=touch x."),
        ("ada/absent", TOKEN, None, "The git host knows no such repository, or the token may not read it."),
        (
            "ada/engine",
            "wrong-token-0123456789",
            None,
            "The git host refused access to the repository: is a token stored, and may it read this repository?",
        ),
        (
            "ada/engine",
            None,
            None,
            "The git host refused access to the repository: is a token stored, and may it read this repository?",
        ),
    ],
)
async def test_what_is_wrong_is_said_in_a_sentence(
    server: GitServer, target: Path, name: str, token: str | None, branch: str | None, reason: str
) -> None:
    server.add(README)
    with pytest.raises(WorkspaceFailure) as raised:
        await cloner(server).clone(server.source(name, token), target, branch=branch)
    assert raised.value.message == reason


async def test_a_host_that_cannot_be_reached_is_said(server: GitServer, target: Path) -> None:
    source = CloneSource("http://127.0.0.1:9/ada/engine.git")
    settings = load_config(env_file=None, git_private_hosts="http://127.0.0.1:9")
    with pytest.raises(WorkspaceFailure, match=r"The git host can't be reached\."):
        await GitCloner(settings).clone(source, target, branch=None)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://127.0.0.1:9/ada/engine.git", "is private"),
        ("https://localhost/ada/engine.git", "is private"),
        ("https://169.254.169.254/ada/engine.git", "is private"),
        ("http://192.0.2.1/ada/engine.git", "over https only"),
        ("ext::sh -c true", "over https only"),
        ("file:///etc", "over https only"),
    ],
)
async def test_only_public_hosts_are_called(server: GitServer, target: Path, url: str, reason: str) -> None:
    with pytest.raises(WorkspaceFailure, match=reason):
        await cloner(server).clone(CloneSource(url), target, branch=None)
    assert not exists(target)


async def test_a_redirect_is_not_followed(server: GitServer, target: Path, tmp_path: Path) -> None:
    with git_server(tmp_path / "elsewhere") as elsewhere:
        elsewhere.add(README)
        server.redirect_to = elsewhere.origin
        with pytest.raises(WorkspaceFailure, match=r"The git host redirects, which is not followed\."):
            await cloner(server).clone(server.source(), target, branch=None)
        assert len(server.requests) == 1
        assert elsewhere.requests == []


async def test_the_token_is_in_no_argument_and_in_no_file(server: GitServer, target: Path) -> None:
    server.add(README)
    server.gate.clear()
    cloning = asyncio.create_task(cloner(server).clone(server.source(), target, branch=None))
    await asked(server)
    lines = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    server.gate.set()
    await cloning
    assert any("clone" in line for line in lines)
    assert [line for line in lines if TOKEN in line] == []
    assert files_with(TOKEN, target) == []
    assert git(target, "config", "remote.origin.url") == f"{server.url()}\n"


async def test_nothing_of_a_hostile_repository_runs(server: GitServer, target: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    server.add(
        {
            ".gitattributes": "* filter=evil\n*.bin filter=lfs diff=lfs merge=lfs\n",
            ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = ext::touch {mark}\n',
            ".githooks/post-checkout": f"#!/bin/sh\ntouch {mark}\n",
            ".lfsconfig": f"[lfs]\n\turl = http://127.0.0.1:9\n\tcustomtransfer = touch {mark}\n",
            "data.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        }
    )
    await cloner(server).clone(server.source(), target, branch=None)
    assert not mark.exists()
    assert not (target / "x").exists()
    assert (target / "data.bin").read_text().startswith("version")
    assert [path for path in (target / ".git").rglob("*") if "hooks" in path.parts] == []


async def test_the_configuration_of_the_machine_is_not_read(
    server: GitServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "home" / "hooks").mkdir(parents=True)
    hook = tmp_path / "home" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    settings = f'[core]\n\thooksPath = {hook.parent}\n[url "http://127.0.0.1:9/"]\n\tinsteadOf = {server.origin}/\n'
    (tmp_path / "home" / ".gitconfig").write_text(settings)
    (tmp_path / "home" / ".netrc").write_text("default login ada password secret-of-the-operator\n")
    monkeypatch.setenv("HOME", os.fspath(tmp_path / "home"))
    # A proxy that nobody is at, and what git itself would take from the environment.
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "GIT_PROXY_COMMAND",
    ):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.hooksPath'='{hook.parent}'")
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    monkeypatch.setenv("GIT_DIR", os.fspath(tmp_path / "home"))
    server.add(README)
    await cloner(server).clone(server.source(), target, branch=None)
    assert not mark.exists()
    with pytest.raises(WorkspaceFailure, match="refused access"):
        await cloner(server).clone(server.source(token=None), tmp_path / "second", branch=None)


async def test_a_host_that_lends_objects_from_elsewhere_leads_nowhere(
    server: GitServer, target: Path, tmp_path: Path
) -> None:
    bare = server.add(README)
    git(bare, "update-server-info")
    shutil.rmtree(bare / "objects")
    for name in ("http-alternates", "alternates"):
        (bare / "objects" / "info").mkdir(parents=True, exist_ok=True)
        (bare / "objects" / "info" / name).write_text(f"{server.url('ada/lent')}/objects\n")
    handler = partial(SimpleHTTPRequestHandler, directory=os.fspath(server.root))
    # As git fetches from a server that only has files.
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as plain:
        thread = threading.Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        origin = f"http://127.0.0.1:{plain.server_port}"
        settings = load_config(env_file=None, git_private_hosts=origin)
        try:
            with pytest.raises(WorkspaceFailure):
                await GitCloner(settings).clone(CloneSource(f"{origin}/ada/engine.git"), target, branch=None)
        finally:
            plain.shutdown()
            thread.join(10)
    assert server.requests == []


async def test_a_repository_that_is_too_large_is_refused(server: GitServer, target: Path) -> None:
    server.add({f"{number}.txt": os.urandom(300_000).hex() for number in range(4)})
    with pytest.raises(WorkspaceFailure, match=r"larger than 1048576 bytes"):
        await cloner(server, workspace_max_bytes=1024**2).clone(server.source(), target, branch=None)


async def test_a_clone_that_takes_too_long_ends(server: GitServer, target: Path) -> None:
    server.add(README)
    server.gate.clear()
    with pytest.raises(WorkspaceFailure, match=r"Cloning took longer than 1 s\."):
        await cloner(server, clone_timeout_seconds=1).clone(server.source(), target, branch=None)
    assert git_processes() == []


async def test_a_cancelled_clone_leaves_no_process(server: GitServer, target: Path) -> None:
    server.add(README)
    server.gate.clear()
    cloning = asyncio.create_task(cloner(server).clone(server.source(), target, branch=None))
    await asked(server)
    assert git_processes() != []
    cloning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cloning
    assert git_processes() == []
