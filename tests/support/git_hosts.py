"""Fake git hosts on loopback, whose HTTP APIs answer as the three providers document."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from app.models.provider_account import ProviderType
from tests.support import hosted_tasks
from tests.support.hosted_tasks import HostedTask
from tests.support.pull_requests import PullRequests

API_PATHS = {ProviderType.GITHUB: "/api/v3", ProviderType.GITLAB: "/api/v4", ProviderType.BITBUCKET: "/2.0"}
MAX_REQUESTS = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """A recorded request: the path is not decoded, header names are in lower case; ``status`` is the response's."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A response that replaces the correct one."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b"{}"


@dataclass(slots=True)
class HostedRepository:
    """A repository on a fake host; ``branches`` are in the order of the API's list."""

    id: int
    name: str
    members: frozenset[str]
    is_private: bool
    default_branch: str | None
    branches: list[str]
    protected: frozenset[str]
    pull_requests: PullRequests


def sha_of(branch: str) -> str:
    """Return the commit hash that all hosts give a branch of this name."""
    return hashlib.sha1(branch.encode(), usedforsecurity=False).hexdigest()


class GitHost:
    """One host. ``tokens`` maps tokens to logins, ``moved`` old paths to new ones.

    The next requests are answered with ``faults``, one each, before the host answers correctly again.
    """

    def __init__(self, provider: ProviderType, host: str) -> None:
        self.provider = provider
        self.host = host
        self.requests: list[Seen] = []
        self.repositories: list[HostedRepository] = []
        self.tokens: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.moved: dict[str, str] = {}
        self.tasks: list[HostedTask] = []

    @property
    def api(self) -> str:
        """The base URL of the API."""
        return f"http://{self.host}{API_PATHS[self.provider]}"

    def add_repository(
        self,
        name: str,
        *,
        members: frozenset[str] = frozenset(),
        is_private: bool = False,
        default_branch: str | None = "main",
        branches: list[str] | None = None,
        protected: frozenset[str] = frozenset({"main"}),
    ) -> HostedRepository:
        """Add a repository; ``members`` are logins."""
        number = len(self.repositories) + 1
        kept = ["main"] if branches is None else branches
        pull_requests = PullRequests(self.provider, name)
        added = HostedRepository(number, name, members, is_private, default_branch, kept, protected, pull_requests)
        self.repositories.append(added)
        return added

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Fault:
        """Record a request, and return its response."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        answer = self.faults.pop(0) if self.faults else self._right(method, parts.path, query, headers, body)
        if len(self.requests) < MAX_REQUESTS:
            self.requests.append(Seen(method, parts.path, query, headers, answer.status))
        return answer

    def _right(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Fault:
        if path in self.moved:
            return Fault(301, {"location": self.moved[path]})
        token = headers.get("authorization", "").partition(" ")[2]
        if headers.get("authorization", "").startswith("Basic "):
            token = base64.b64decode(token).decode()
        login = self.tokens.get(token)
        if token and login is None:
            return Fault(401)
        if path == "/api/graphql" and (asked := hosted_tasks.query_of(body)) is not None:
            return _json(hosted_tasks.graphql(self.provider, login, self.tasks, asked))
        if path == "/api/graphql":
            return self._graphql(login, cast("dict[str, dict[str, str | None]]", json.loads(body))["variables"])
        base = API_PATHS[self.provider]
        if not path.startswith(base):
            return Fault(404)
        proposed = self._pull_requests(method, path.removeprefix(base), query, login, body)
        if proposed is not None:
            return self._conditional(proposed, headers)
        return self._conditional(self._route(path.removeprefix(base), query, login), headers)

    def _conditional(self, answer: Fault, headers: Mapping[str, str]) -> Fault:
        if answer.status != 200:
            return answer
        etag = f'W/"{hashlib.sha256(answer.body).hexdigest()[:16]}"'
        if headers.get("if-none-match") == etag:
            return Fault(304, {"etag": etag}, b"")
        return Fault(200, {**answer.headers, "etag": etag}, answer.body)

    def _route(self, path: str, query: Mapping[str, str], login: str | None) -> Fault:
        if path == "/user":
            name = "login" if self.provider is ProviderType.GITHUB else "username"
            return _json({name: login, "uuid": f"{{{login}}}"}) if login else Fault(401)
        told = hosted_tasks.rest(path, query, login, self.tasks) if login else None
        if told is not None:
            return _json(told)
        if path == "/user/workspaces":
            slugs = sorted({each.name.split("/")[0] for each in self.repositories if login in each.members})
            return _json({"values": [{"workspace": {"slug": slug}} for slug in slugs]}) if login else Fault(401)
        if path in ("/user/repos", "/search/repositories", "/projects") or (
            self.provider is ProviderType.BITBUCKET and re.fullmatch("/repositories/[^/]+", path)
        ):
            return self._repositories(path, query, login)
        match = re.fullmatch(
            r"/(?:repos|projects|repositories)/(.+?)((?:/repository|/refs)?/branches(?:/(.+))?)?", path
        )
        visible = [each for each in self._visible(login) if match and each.name == unquote(match[1])]
        if match is None or not visible:
            return Fault(404)
        if match[2] is None:
            return _json(self._repository(visible[0]))
        if match[3] is not None:
            name = unquote(match[3])
            return _json(self._branch(visible[0], name)) if name in visible[0].branches else Fault(404)
        wanted = query.get("search", _filter(query))
        if self.provider is ProviderType.GITHUB:
            wanted = ""
        names = [name for name in visible[0].branches if wanted in name]
        return self._page(path, query, [self._branch(visible[0], name) for name in names])

    def _pull_requests(
        self, method: str, path: str, query: Mapping[str, str], login: str | None, body: bytes
    ) -> Fault | None:
        match = re.fullmatch(
            r"/(?:repos|projects|repositories)/(.+?)/(?:pulls|merge_requests|pullrequests)(/[^/]+)?", path
        )
        if match is None:
            return None
        visible = [each for each in self._visible(login) if each.name == unquote(match[1])]
        if not visible:
            return Fault(404)
        [repository] = visible
        status, answer = repository.pull_requests.answer(method, match[2] or "", query, body, repository.branches)
        return Fault(status, {}, json.dumps(answer).encode())

    def _repositories(self, path: str, query: Mapping[str, str], login: str | None) -> Fault:
        kept = self._visible(login)
        if path == "/user/repos" or "membership" in query or query.get("role") == "member":
            if login is None:
                return Fault(401)
            kept = [each for each in kept if login in each.members]
        if path.startswith("/repositories/"):
            kept = [each for each in kept if each.name.startswith(path.removeprefix("/repositories/") + "/")]
        wanted = query.get("search", _filter(query))
        if path == "/search/repositories":
            wanted = query["q"].split(" in:name", maxsplit=1)[0]
        return self._page(path, query, [self._repository(each) for each in kept if wanted in each.name])

    def _visible(self, login: str | None) -> list[HostedRepository]:
        return [each for each in self.repositories if not each.is_private or login in each.members]

    def _page(self, path: str, query: Mapping[str, str], items: list[object]) -> Fault:
        size = min(int(query.get("per_page", query.get("pagelen", "10"))), 100)
        number = int(query.get("page", "1"))
        shown = items[(number - 1) * size : number * size]
        more = len(items) > number * size
        url = f"http://{self.host}{API_PATHS[self.provider]}{path}?{urlencode({**query, 'page': number + 1})}"
        if self.provider is ProviderType.BITBUCKET:
            return _json({"values": shown, **({"next": url} if more else {})})
        link = {"link": f'<{url}>; rel="next", <{url}>; rel="last"'} if more else {}
        return _json({"items": shown} if path == "/search/repositories" else shown, link)

    def _repository(self, each: HostedRepository) -> object:
        if self.provider is ProviderType.GITHUB:
            branch = each.default_branch
            return {"id": each.id, "full_name": each.name, "private": each.is_private, "default_branch": branch}
        if self.provider is ProviderType.GITLAB:
            visibility = "private" if each.is_private else "public"
            shown = {"id": each.id, "path_with_namespace": each.name, "visibility": visibility}
            return {**shown, "default_branch": each.default_branch}
        main = None if each.default_branch is None else {"name": each.default_branch}
        return {"uuid": str(each.id), "full_name": each.name, "is_private": each.is_private, "mainbranch": main}

    def _branch(self, each: HostedRepository, name: str) -> object:
        protected = name in each.protected
        if self.provider is ProviderType.GITHUB:
            return {"name": name, "commit": {"sha": sha_of(name)}, "protected": protected}
        if self.provider is ProviderType.GITLAB:
            return {"name": name, "commit": {"id": sha_of(name)}, "protected": protected}
        return {"name": name, "target": {"hash": sha_of(name)}}

    def _graphql(self, login: str | None, variables: Mapping[str, str | None]) -> Fault:
        if login is None:
            return Fault(401)
        name = f"{variables['owner']}/{variables['name']}"
        for each in self._visible(login):
            if each.name == name:
                names = [branch for branch in each.branches if (variables["query"] or "") in branch]
                start = int(variables["after"] or 0)
                nodes = [
                    {
                        "name": branch,
                        "target": {"oid": sha_of(branch)},
                        "branchProtectionRule": {"id": "1"} if branch in each.protected else None,
                    }
                    for branch in names[start : start + 100]
                ]
                info = {"hasNextPage": len(names) > start + 100, "endCursor": str(start + len(nodes))}
                return _json({"data": {"repository": {"refs": {"nodes": nodes, "pageInfo": info}}}})
        return _json({"data": {"repository": None}})


def _filter(query: Mapping[str, str]) -> str:
    match = re.fullmatch(r'name ~ "(.*)"', query.get("q", ""))
    return "" if match is None else match[1]


def _json(value: object, headers: Mapping[str, str] | None = None) -> Fault:
    return Fault(200, headers or {}, json.dumps(value).encode())


@contextmanager
def git_host(provider: ProviderType) -> Generator[GitHost]:
    """Run a fake host at ``http://<host>`` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("content-length", "0")), 1_000_000))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = hosted.answer(self.command, self.path, headers, body)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Do not log requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hosted = GitHost(provider, f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hosted
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
