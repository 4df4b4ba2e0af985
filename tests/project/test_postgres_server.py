"""The PostgreSQL that the other tests rely on."""

import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from benchmarks.postgres import PostgresServer, copy_binaries, database_name, installed_binaries, reachable_by_others


def test_each_database_is_new_and_empty(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as first, postgres_server.database() as second:
        with psycopg.connect(first) as connection:
            connection.execute("CREATE TABLE note (text text)")
        with psycopg.connect(second) as connection:
            tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()

    assert tables == (0,)


def test_a_copy_of_a_database_has_what_was_in_it(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as original:
        with psycopg.connect(original) as connection:
            connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")
        with postgres_server.database(template=original) as copy, psycopg.connect(copy) as connection:
            rows = connection.execute("SELECT text FROM note").fetchall()

    assert rows == [("kept",)]


def test_the_server_listens_on_loopback_with_a_password(postgres_server: PostgresServer, postgres_url: str) -> None:
    process = psutil.Process(postgres_server.process_id)
    listening = {item.laddr.ip for item in process.net_connections("inet") if item.status == psutil.CONN_LISTEN}

    assert listening == {"127.0.0.1"}
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_url, password="wrong")


def test_text_is_unicode_with_the_same_rules_on_every_machine(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT lower('ÄÖÜ'), 'É' ILIKE 'é', 'Z' < 'a'").fetchone()

    assert row == ("äöü", True, True)


def test_ending_connections_counts_them_and_new_ones_are_taken(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as first, psycopg.connect(postgres_url) as second:
        ended = postgres_server.end_connections(postgres_url)
        for connection in (first, second):
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")

    assert ended == 2
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_database_can_be_closed_to_new_connections_and_opened_again(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    postgres_server.allow_connections(postgres_url, allowed=False)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(postgres_url)

    postgres_server.allow_connections(postgres_url, allowed=True)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("at_once", [False, True], ids=["stop", "crash"])
def test_a_stopped_server_starts_again_at_the_same_address_with_its_data(at_once: bool) -> None:
    with PostgresServer() as server:
        url = server.create_database()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")

        server.stop(at_once=at_once)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()

        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT text FROM note").fetchall() == [("kept",)]


def test_nothing_is_left_of_a_server_at_its_end() -> None:
    with PostgresServer() as server:
        process = psutil.Process(server.process_id)
        data = Path(process.cmdline()[process.cmdline().index("-D") + 1])
        assert data.exists()

    assert not process.is_running()
    assert not data.parent.exists()


def test_a_dropped_database_is_gone_and_dropping_it_again_is_fine(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()

    postgres_server.drop_database(url)
    postgres_server.drop_database(url)

    with pytest.raises(psycopg.OperationalError, match=f'database "{database_name(url)}" does not exist'):
        psycopg.connect(url)


def test_directories_of_the_installed_package_keep_their_permissions() -> None:
    directories = [installed_binaries(), *installed_binaries().parents]
    before = [directory.stat().st_mode for directory in directories]

    with PostgresServer():
        assert [directory.stat().st_mode for directory in directories] == before


def test_binaries_in_a_private_directory_are_copied_and_the_copy_runs(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)

    copied = copy_binaries(installed_binaries(), private)

    assert not reachable_by_others(copied)
    version = subprocess.run([copied / "initdb", "--version"], capture_output=True, check=True, text=True, timeout=10)
    assert version.stdout.startswith("initdb (PostgreSQL) 18.")


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells a process that its parent ended.")
def test_the_server_ends_when_its_parent_is_killed() -> None:
    program = (
        "import sys, time\n"
        "from benchmarks.postgres import PostgresServer\n"
        "with PostgresServer() as server:\n"
        "    print(server.process_id, server._directory, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        identifier, directory = parent.stdout.readline().split()
        server = psutil.Process(int(identifier))
        parent.kill()

    _, running = psutil.wait_procs([server], timeout=20)
    subprocess.run(["rm", "-rf", directory], check=True, timeout=20)

    assert running == []
