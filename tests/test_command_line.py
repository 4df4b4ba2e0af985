"""The command line, as it is typed."""

import asyncio
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support import forked
from tests.support.client import NO_TLS
from tests.support.paths import ROOT
from tests.support.patience import PROGRAM_SECONDS
from tests.support.processes import ServerProcess
from tests.support.sandboxes import needs_sandbox

SECRET = "not-for-anybodys-eyes"


def run(
    directory: Path, *arguments: str, within: Sequence[str] = (), **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with these settings alone, within another one where that is given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    environment |= {"PARLEY_DATA_DIR": str(directory / "data"), "PYTHONPATH": str(ROOT), **settings}
    # A process whose modules are imported already, but where the start is the subject.
    return (
        run_typed(directory, environment, arguments, within)
        if within or "schema" in arguments
        else forked.run(arguments, environment, directory)
    )


def run_typed(
    directory: Path, environment: Mapping[str, str], arguments: Sequence[str], within: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user types it."""
    return subprocess.run(
        [*within, sys.executable, "-m", "app", *arguments],
        # A directory without `.env`.
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=False,
    )


@asynccontextmanager
async def served(data_dir: Path, **settings: str) -> AsyncGenerator[ServerProcess]:
    """A server as its users run it."""
    server = ServerProcess(data_dir, **settings)
    try:
        await server.start()
        yield server
    finally:
        await server.close()


def test_the_schema_is_printed(tmp_path: Path) -> None:
    printed = run(tmp_path, "schema")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout == (ROOT / "schema.graphql").read_text()
    assert list(tmp_path.iterdir()) == []


def test_trusted_documents_that_cannot_be_read_end_the_start_with_a_line(tmp_path: Path) -> None:
    settings = {"PARLEY_TRUSTED_DOCUMENTS": "only", "PARLEY_TRUSTED_DOCUMENTS_DIR": "documents"}
    ended = run(tmp_path, "serve", **settings)
    assert (ended.returncode, ended.stderr) == (2, "parley: documents can't be read: No such file or directory.\n")


def test_the_possible_types_are_printed(tmp_path: Path) -> None:
    printed = run(tmp_path, "schema", "--possible-types")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout == (ROOT / "clients" / "possible-types.json").read_text()


def test_the_database_is_brought_up_to_date_and_stays_so(tmp_path: Path) -> None:
    for _ in range(2):
        upgraded = run(tmp_path, "database", "upgrade")
        assert (upgraded.returncode, upgraded.stdout) == (0, "The database is up to date.\n"), upgraded.stderr
    assert (tmp_path / "data" / "parley.db").is_file()


def test_secrets_are_rotated_where_nothing_was_ever_stored(tmp_path: Path) -> None:
    rotated = run(tmp_path, "database", "rotate-secrets")
    assert (rotated.returncode, rotated.stdout) == (0, "Secrets encrypted with the first key now: 0.\n"), rotated.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], ["serve", "schema", "database"]),
        (["serve", "--help"], ["--host", "--port"]),
        (["database", "--help"], ["upgrade", "rotate-secrets"]),
    ],
)
def test_help_names_what_there_is(tmp_path: Path, arguments: list[str], said: list[str]) -> None:
    helped = run(tmp_path, *arguments)
    assert helped.returncode == 0
    assert [word for word in said if word not in helped.stdout] == []


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["database"], ["serve", "--port", "x"], ["serve", "--nothing"]])
def test_a_wrong_command_is_told_how_it_is_used(tmp_path: Path, arguments: list[str]) -> None:
    refused = run(tmp_path, *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("usage: python -m app")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["serve", "--host", "0.0.0.0"], {}, "PARLEY_HOST=0.0.0.0 would let anyone on the network in"),  # noqa: S104
        (["serve", "--host", "::"], {}, "PARLEY_HOST=:: would let anyone on the network in"),
        (["serve"], {"PARLEY_HOST": "192.0.2.1"}, "use a loopback address such as 127.0.0.1, or PARLEY_AUTH=jwt"),
        (["serve", "--port", "65536"], {}, "PARLEY_PORT"),
        (["serve"], {"PARLEY_AUTH": "open"}, "PARLEY_AUTH"),
        (["serve"], {"PARLEY_AUTH": "jwt"}, "PARLEY_AUTH=jwt needs exactly one of"),
        (["serve"], {"PARLEY_AUTH": "jwt", "PARLEY_JWT_SECRET": SECRET}, "PARLEY_JWT_SECRET"),
        (["serve"], {"PARLEY_AUTH": "jwt", "PARLEY_JWT_JWKS_FILE": "/nothing/there"}, "/nothing/there"),
        (["serve"], {"PARLEY_SECRET_KEY": SECRET}, "PARLEY_SECRET_KEY"),
        (["serve"], {"PARLEY_DATABASE_URL": f"mysql://u:{SECRET}@h/d"}, "PARLEY_DATABASE_URL: mysql is not supported"),
        (["serve"], {"PARLEY_DATABASE_URL": SECRET}, "PARLEY_DATABASE_URL is no URL"),
        (["serve"], {"PARLEY_DATABASE_URL": "sqlite://"}, "PARLEY_DATABASE_URL: readers and writer can't share"),
        (["serve"], {"PARLEY_DATABASE_URL": "sqlite:///file:x?mode=memory&uri=true"}, "memory; name a file"),
        (["serve"], {"PARLEY_DATA_DIR": "/proc/nothing"}, "PARLEY_DATA_DIR"),
        (["database", "upgrade"], {"PARLEY_DATABASE_URL": f"mysql://u:{SECRET}@h/d"}, "PARLEY_DATABASE_URL"),
        (
            ["serve"],
            {"PARLEY_DATABASE_URL": "sqlite:////proc/nothing/x.db"},
            "PARLEY_DATABASE_URL: /proc/nothing can't be",
        ),
        (["database", "upgrade"], {"PARLEY_LOG_LEVEL": "loud"}, "PARLEY_LOG_LEVEL"),
        (["database", "rotate-secrets"], {"PARLEY_SECRET_KEY": SECRET}, "PARLEY_SECRET_KEY"),
    ],
)
def test_a_bad_configuration_is_one_sentence(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], said: str
) -> None:
    refused = run(tmp_path, *arguments, **settings)
    assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
    assert "Traceback" not in refused.stderr
    line = refused.stderr.splitlines()[-1]
    assert line.startswith("parley: ")
    assert said in line
    assert SECRET not in refused.stderr


async def test_the_server_says_where_it_answers_and_ends_on_a_signal(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9][0-9]+", server.url)
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as session:
            assert (await session.get("/health/ready")).json()["status"] == "ok"
            assert "server" not in (await session.get("/")).headers
        assert await server.execute("{ __typename }") == {"__typename": "Query"}
        assert await server.end(signal.SIGINT) == 0


async def test_the_server_opens_more_files_than_systems_allow_by_default(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        async with served(tmp_path) as server:
            allowed, most = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (allowed, most) == (65536 if hard == resource.RLIM_INFINITY else min(hard, 65536), hard)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"PARLEY_SANDBOX": "none"}, "Agents have no shell: the operator has turned it off (PARLEY_SANDBOX=none)."),
        pytest.param(
            {"PARLEY_SANDBOX": "bubblewrap"}, "Agents run commands in a sandbox: bubblewrap.", marks=needs_sandbox
        ),
    ],
)
def test_the_server_says_at_start_which_sandbox_it_uses(tmp_path: Path, settings: dict[str, str], line: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        # It says so before it listens, and then ends by itself.
        ran = run(tmp_path, "serve", "--port", str(other.getsockname()[1]), **settings)
    assert ran.stdout == f"{line}\n"


async def test_one_process_owns_an_embedded_database(tmp_path: Path) -> None:
    async with served(tmp_path / "data") as server:
        second = await asyncio.to_thread(run, tmp_path, "serve", "--port", "0")
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr.startswith("parley: Another Parley process uses ")
        assert len(second.stderr.splitlines()) == 1
        assert await server.execute("{ __typename }") == {"__typename": "Query"}


def test_a_port_that_is_taken_fails_with_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        failed = run(tmp_path, "serve", "--port", str(port))
    assert failed.returncode == 1
    assert "Parley ready" not in failed.stdout
    assert "address already in use" in failed.stderr.lower()
    assert "Traceback" not in failed.stderr


USES_OF_A_DATABASE = pytest.mark.parametrize(
    "arguments", [["serve", "--port", "0"], ["database", "upgrade"], ["database", "rotate-secrets"]]
)


def complaint(failed: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that did nothing."""
    assert (failed.returncode, failed.stdout) == (1, ""), failed.stderr
    [line] = failed.stderr.splitlines()
    return line


@USES_OF_A_DATABASE
def test_a_database_that_does_not_answer_fails_without_its_password(tmp_path: Path, arguments: list[str]) -> None:
    line = complaint(run(tmp_path, *arguments, PARLEY_DATABASE_URL=f"postgresql://u:{SECRET}@127.0.0.1:1/d"))
    assert line.startswith("parley: the database can't be reached: ")
    assert SECRET not in line


@USES_OF_A_DATABASE
@pytest.mark.parametrize(
    ("password", "database", "said"),
    [
        (SECRET, None, 'password authentication failed for user "'),
        (None, "absent", 'database "absent" does not exist'),
    ],
)
def test_a_database_that_lets_nobody_in_says_why(
    tmp_path: Path, postgres_url: str, arguments: list[str], password: str | None, database: str | None, said: str
) -> None:
    url = make_url(postgres_url)
    url = url.set(password=password or str(url.password), database=database or url.database)
    line = complaint(run(tmp_path, *arguments, PARLEY_DATABASE_URL=url.render_as_string(hide_password=False)))
    assert line.startswith(f"parley: the database can't be used: {said}")
    assert SECRET not in line


def test_an_engine_file_that_is_no_database_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "parley-engine.db"
    path.write_bytes(b"Something else. " * 500)
    line = complaint(run(tmp_path, "serve", "--port", "0"))
    assert line == "parley: the engine's database can't be used: file is not a database"
    assert path.read_bytes() == b"Something else. " * 500


@pytest.mark.parametrize(
    ("version", "said"), [(3, "no such table: workflow_status"), (9999, "no such table: main.application_versions")]
)
def test_an_engine_file_with_tables_of_something_else_is_told_in_a_line(
    tmp_path: Path, version: int, said: str
) -> None:
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "parley-engine.db") as database:
        database.execute("CREATE TABLE dbos_migrations (version INTEGER)")
        database.execute("INSERT INTO dbos_migrations VALUES (?)", (version,))
    database.close()
    line = complaint(run(tmp_path, "serve", "--port", "0"))
    assert line == f"parley: the engine's database can't be used: {said}"


def test_an_engine_file_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "data" / "parley-engine.db").mkdir(parents=True)
    line = complaint(run(tmp_path, "serve", "--port", "0"))
    assert line == "parley: the engine's database can't be used: unable to open database file"


@needs_sandbox
@pytest.mark.parametrize(
    ("settings", "code", "line"),
    [
        (
            {},
            2,
            (
                "parley: {data}/secret.key can't be made or read (Read-only file system). "
                "Set PARLEY_SECRET_KEY, or another PARLEY_DATA_DIR.\n"
            ),
        ),
        (
            {"PARLEY_SECRET_KEY": "a-secret-key-of-more-than-32-characters"},
            1,
            "parley: the database can't be reached: [Errno 30] Read-only file system: '{data}/parley.db.lock'\n",
        ),
    ],
    ids=["key", "database"],
)
def test_a_data_directory_that_can_not_be_written_is_told_in_a_line(
    tmp_path: Path, settings: dict[str, str], code: int, line: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    # Whoever runs the tests may be root, whom no mode of a directory stops.
    mounted = ["bwrap", "--dev-bind", "/", "/", "--ro-bind", str(data), str(data)]
    done = run(tmp_path, "serve", "--port", "0", within=mounted, **settings)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", line.format(data=data))
    assert list(data.iterdir()) == []


def test_a_database_where_the_engine_may_make_no_schema_is_told_in_a_line(tmp_path: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE restricted LOGIN PASSWORD 'restricted'")
        connection.execute("GRANT ALL ON SCHEMA public TO restricted")
    try:
        url = make_url(postgres_url).set(username="restricted", password="restricted")
        line = complaint(run(tmp_path, "serve", PARLEY_DATABASE_URL=url.render_as_string(hide_password=False)))
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("DROP OWNED BY restricted")
            connection.execute("DROP ROLE restricted")
    assert line.startswith("parley: the engine's database can't be used: permission denied for database ")


@USES_OF_A_DATABASE
def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "parley.db"
    path.write_bytes(b"Something else. " * 500)
    line = complaint(run(tmp_path, *arguments))
    assert line == "parley: the database can't be used: file is not a database"
    assert path.read_bytes() == b"Something else. " * 500


@USES_OF_A_DATABASE
def test_a_database_of_a_newer_release_is_left_to_it(tmp_path: Path, arguments: list[str]) -> None:
    assert run(tmp_path, "database", "upgrade").returncode == 0
    with closing(sqlite3.connect(tmp_path / "data" / "parley.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    refused = run(tmp_path, *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "parley: The database is of a newer release: this one does not know its revision 9999. "
        "Use that release, or another PARLEY_DATABASE_URL.\n"
    )
