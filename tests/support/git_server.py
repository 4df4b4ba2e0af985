"""A real git server for tests: smart HTTP by ``git http-backend`` on 127.0.0.1, with a password.

It also answers as much of a provider's API as leads to its repositories, so a server needs no more than its address.
"""

import base64
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import SecretStr

from app.models.provider_account import ProviderType
from app.services.git.base import CloneSource
from tests.support import hosted_tasks
from tests.support.hosted_tasks import HostedTask
from tests.support.patience import PROGRAM_SECONDS
from tests.support.pull_requests import PullRequests

USER = "x-access-token"
TOKEN = "token-of-a-test-0123456789"
# Ignore the machine's own git configuration.
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


def git(directory: Path, *arguments: str) -> str:
    """Run git in a directory, and return its output."""
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *arguments],
        cwd=directory,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=True,
    )
    return done.stdout


@dataclass(frozen=True)
class Dialect:
    """A provider's API in a test. ``user`` is that of git; ``path`` leads to a repository, ``branches`` on from it."""

    api: str
    user: str
    path: str
    branches: str
    described: Callable[[int, str], Mapping[str, object]]


DIALECTS = {
    ProviderType.GITHUB: Dialect(
        "/api/v3",
        USER,
        "/repos/",
        "/branches/",
        lambda number, name: {"id": number, "full_name": name, "private": True, "default_branch": "main"},
    ),
    ProviderType.GITLAB: Dialect(
        "/api/v4",
        "oauth2",
        "/projects/",
        "/repository/branches/",
        lambda number, name: {
            "id": number,
            "path_with_namespace": name,
            "visibility": "private",
            "default_branch": "main",
        },
    ),
    ProviderType.BITBUCKET: Dialect(
        "/2.0",
        "x-token-auth",
        "/repositories/",
        "/refs/branches/",
        lambda number, name: {
            "uuid": f"{{{number}}}",
            "full_name": name,
            "is_private": True,
            "mainbranch": {"type": "branch", "name": "main"},
        },
    ),
}


@dataclass
class GitServer:
    """Serves the bare repositories below ``root``.

    ``token`` is the password. With ``redirect_to`` every request is redirected there. While ``gate`` is cleared,
    responses wait for it.

    These make the API and git disagree, by a repository's name: ``described`` overrides fields of the API, ``listed``
    the branches that the API lists; ``moved`` is the new name, to which both redirect. ``faults`` and ``api_faults``
    are status and text with which git and the API answer instead, ``push_faults`` those for pushes alone.
    """

    root: Path
    provider: ProviderType = ProviderType.GITHUB
    port: int = 0
    requests: list[str] = field(default_factory=list[str])
    token: str = TOKEN
    is_public: bool = False
    redirect_to: str | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    described: dict[str, Mapping[str, object]] = field(default_factory=dict[str, Mapping[str, object]])
    listed: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    moved: dict[str, str] = field(default_factory=dict[str, str])
    faults: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    api_faults: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    push_faults: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    pull_requests: dict[str, PullRequests] = field(default_factory=dict[str, PullRequests])
    tasks: list[HostedTask] = field(default_factory=list[HostedTask])

    @property
    def dialect(self) -> Dialect:
        """The form of the answers of its API."""
        return DIALECTS[self.provider]

    @property
    def host(self) -> str:
        """The host as `setProviderToken` takes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        """The origin as ``PARLEY_GIT_PRIVATE_HOSTS`` takes it."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, name: str = "ada/engine") -> str:
        """Return a repository's clone URL."""
        return f"{self.origin}/{name}.git"

    def source(self, name: str = "ada/engine", token: str | None = TOKEN) -> CloneSource:
        """Return the arguments of a clone; ``token=None`` for anonymous access."""
        return CloneSource(self.url(name), self.dialect.user, SecretStr(token) if token else None)

    def hook(self, name: str, script: str, repository: str = "ada/engine") -> None:
        """Have a repository run a shell script as a hook, such as ``pre-receive``; an empty one removes it."""
        path = self.root / f"{repository}.git" / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if script:
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)

    def add(
        self, files: Mapping[str, str | Path], name: str = "ada/engine", *, branches: tuple[str, ...] = ("main",)
    ) -> Path:
        """Create a bare repository whose branches all have these files, and return its path.

        A file given as a ``Path`` becomes a symbolic link to that path.
        """
        bare = self.root / f"{name}.git"
        bare.mkdir(parents=True)
        git(bare, "init", "--quiet", "--bare")
        if files:
            work = self.root / "work" / name
            work.mkdir(parents=True)
            git(work, "init", "--quiet")
            for path, content in files.items():
                (work / path).parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, Path):
                    (work / path).symlink_to(content)
                else:
                    (work / path).write_text(content)
            git(work, "add", "--all", "--force")
            git(work, "commit", "--quiet", "--message", "Begin")
            for branch in branches:
                git(work, "push", "--quiet", os.fspath(bare), f"HEAD:refs/heads/{branch}")
        return bare


@contextmanager
def git_server(root: Path, provider: ProviderType = ProviderType.GITHUB) -> Generator[GitServer]:
    """Run a server until the block ends."""
    git_host = GitServer(root, provider)
    git_host.gate.set()
    handler = type("Handler", (_Handler,), {"git_server": git_host})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    git_host.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, name="git server", daemon=True)
    thread.start()
    try:
        yield git_host
    finally:
        git_host.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(PROGRAM_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    git_server: GitServer

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  The base class's name.
        """Do not log requests."""

    def _answer(self) -> None:
        server = self.git_server
        if self.path == "/api/graphql":
            query = str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["query"])
            told = hosted_tasks.graphql(server.provider, "ada", server.tasks, query)
            self._say(200, json.dumps(told), "application/json")
            return
        if self.path.startswith(server.dialect.api):
            url = urlsplit(self.path)
            self._answer_api(url.path.removeprefix(server.dialect.api), url.query)
            return
        server.requests.append(f"{self.command} {self.path}")
        server.gate.wait(PROGRAM_SECONDS)
        name = urlsplit(self.path).path.partition(".git/")[0].removeprefix("/")
        wanted = "Basic " + base64.b64encode(f"{server.dialect.user}:{server.token}".encode()).decode()
        if server.redirect_to is not None:
            self.send_response(302)
            self.send_header("Location", server.redirect_to + self.path)
            self.end_headers()
        elif name in server.moved:
            self.send_response(301)
            self.send_header("Location", self.path.replace(name, server.moved[name]))
            self.end_headers()
        elif name in server.faults:
            self._say(*server.faults[name], "text/plain; charset=utf-8")
        elif not server.is_public and self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
        elif name in server.push_faults and "git-receive-pack" in self.path:
            self._say(*server.push_faults[name], "text/plain; charset=utf-8")
        else:
            self._serve()

    def _answer_api(self, path: str, query: str) -> None:
        server = self.git_server
        path = unquote(path)
        asked = "/".join(path.split("/")[2:4])
        if asked in server.moved:
            self._move(asked, server.moved[asked])
            return
        if asked in server.api_faults:
            self._say(*server.api_faults[asked], "application/json")
            return
        is_refused = not server.is_public and self.headers.get("Authorization") != f"Bearer {server.token}"
        proposed = re.fullmatch(f"{server.dialect.path}(.+?)/(?:pulls|merge_requests|pullrequests)(/[^/]+)?", path)
        if proposed is not None and not is_refused:
            self._propose(proposed[1], proposed[2] or "", query)
            return
        answers = self._known()
        status = 401 if is_refused else 200 if path in answers else 404
        self._say(status, json.dumps(answers.get(path, {"message": "Not Found"})), "application/json")

    def _propose(self, name: str, rest: str, query: str) -> None:
        server = self.git_server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bare = server.root / f"{name}.git"
        pull_requests = server.pull_requests.setdefault(name, PullRequests(server.provider, name))
        pull_requests.are_ahead = lambda head, base: git(bare, "rev-list", "--count", f"{base}..{head}") != "0\n"
        branches = git(bare, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").split()
        asked = dict(parse_qsl(query))
        status, answer = pull_requests.answer(self.command, rest, asked, body, branches)
        self._say(status, json.dumps(answer), "application/json")

    def _known(self) -> dict[str, object]:
        """Every answer of the API, by its path."""
        server, speaks = self.git_server, self.git_server.dialect
        found = [bare for bare in server.root.rglob("?*.git") if bare.name != ".git"]
        names = [bare.relative_to(server.root).as_posix().removesuffix(".git") for bare in found]
        known = [
            {**speaks.described(number, name), **server.described.get(name, {})}
            for number, name in enumerate(sorted(names), 1)
        ]
        answers: dict[str, object] = {"/user": {"login": "ada", "username": "ada"}, "/user/repos": known}
        for name, shown in zip(sorted(names), known, strict=True):
            # GitLab's redirects lead to numbers.
            answers[f"{speaks.path}{name}"] = answers[f"{speaks.path}{shown.get('id')}"] = shown
            branches = git(server.root / f"{name}.git", "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads")
            for branch in server.listed.get(name, tuple(branches.split())):
                commit = {"sha": "0" * 40, "id": "0" * 40}
                told = {"name": branch, "commit": commit, "target": {"hash": "0" * 40}, "protected": False}
                answers[f"{speaks.path}{name}{speaks.branches}{branch}"] = told
        return answers

    def _move(self, name: str, new_name: str) -> None:
        """Redirect as the provider does: GitLab to the number of the project."""
        server, speaks = self.git_server, self.git_server.dialect
        old, new = f"{speaks.path}{name}", f"{speaks.path}{new_name}"
        if server.provider is ProviderType.GITLAB:
            old = f"{speaks.path}{quote(name, safe='')}"
            found = cast("Mapping[str, object]", self._known()[new])
            new = f"{speaks.path}{found['id']}"
        self.send_response(301)
        self.send_header("Location", self.path.replace(old, new))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _say(self, status: int, text: str, content_type: str) -> None:
        content = text.encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _serve(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            timeout=PROGRAM_SECONDS,
            check=False,
            env=ENVIRONMENT
            | {
                "GIT_PROJECT_ROOT": os.fspath(self.git_server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": url.path,
                "QUERY_STRING": url.query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": self.git_server.dialect.user,
            },
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [cast("tuple[str, str]", tuple(line.split(": ", 1))) for line in head.decode().splitlines()]
        status = next((value.split()[0] for name, value in headers if name == "Status"), "200")
        self.send_response(int(status))
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        piece = self.rfile.read(size)
        self.rfile.readline()
        return piece
