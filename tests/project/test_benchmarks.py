"""The benchmarks run and print their figures; how large those are is nobody's promise here."""

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from benchmarks import data
from benchmarks.http import check_same
from benchmarks.http_postgres import filled
from benchmarks.load import Cores
from benchmarks.operations import OPERATIONS
from benchmarks.servers import PARLEY, PARLEY_TEXT, RAW, Running, running
from tests.support.paths import ROOT

SECONDS = 240
FIGURES = re.compile(r"^(\w+(?: \w+)?) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) ", re.MULTILINE)


STARTS = re.compile(r"^(parley|bare imports) +([\d.]+) +[\d.]+ +[\d.]+ +([\d.]+) +([\d.]+) +([\d.]+|-)$", re.MULTILINE)
MAX_IDLE_MEGABYTES = 150
ON_POSTGRES = ["postgres_q1", "postgres_q2", "postgres_q3", "postgres_m1"]
NAMES = ["q1", "q2", "q3", "m1", *ON_POSTGRES, "fan_out", "floods", "growth", "run_load", "runs", "start", "streaming"]


def run(*names: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Few sockets and one round, without the servers whose packages `make bench` installs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *names],
        cwd=ROOT,
        env={
            **os.environ,
            "SOCKETS": "3",
            "ROUNDS": "1",
            "IDLE": "0",
            "SERVERS": "parley,strawberry,bare websockets",
            **settings,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=SECONDS)
    finally:
        # The servers that it measures are processes of its own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.mark.timeout(270)
def test_the_fan_out_of_a_status_change_is_measured_and_printed() -> None:
    measured = run("fan_out")
    assert measured.returncode == 0, measured.stderr
    assert measured.stdout.startswith("fan_out: one status change to 3 sockets, 1 interleaved rounds\n")
    figures = {found[0]: [float(figure) for figure in found[1:]] for found in FIGURES.findall(measured.stdout)}
    assert list(figures) == ["parley", "strawberry", "bare websockets"]
    for first, p50, p99, last in figures.values():
        assert 0 <= first <= p50 <= p99 <= last


@pytest.mark.timeout(270)
def test_the_start_is_measured_and_the_server_idles_in_little_memory() -> None:
    measured = run("start")
    assert measured.returncode == 0, measured.stderr
    assert measured.stdout.startswith("start: until ready, 1 interleaved rounds; memory after 0 s of idling\n")
    figures = {found[0]: found[1:] for found in STARTS.findall(measured.stdout)}
    assert list(figures) == ["parley", "bare imports"]
    for seconds, cpu_seconds, _, _ in figures.values():
        assert float(seconds) > 0
        assert float(cpu_seconds) > 0
    assert figures["bare imports"][2:] == ("1.00", "-")
    assert 0 < float(figures["parley"][3]) < MAX_IDLE_MEGABYTES


@pytest.mark.timeout(270)
def test_the_cost_of_pages_is_measured_among_few_and_many() -> None:
    measured = run("growth", SIZES="300,600", SECONDS="0.03", CASES="4")
    assert measured.returncode == 0, measured.stderr
    title, _, *lines = measured.stdout.splitlines()
    assert title == "| filter | page | among 300, ms | among 600, ms | ratio | spread |"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[1] for row in rows] == ["first", "deep"] * 2
    for _, _, few, many, ratio, _ in rows:
        # The figures are rounded to hundredths of a millisecond.
        assert float(ratio) == pytest.approx(float(many) / float(few), rel=0.1)


def test_a_benchmark_that_is_not_there_is_named() -> None:
    refused = run("nothing")
    assert refused.returncode == 2
    assert refused.stderr == "Unknown: nothing. There are: " + ", ".join(NAMES) + ".\n"


@pytest.mark.timeout(270)
def test_the_raw_limit_answers_what_parley_answers(tmp_path: Path) -> None:
    file = data.sqlite_file(300, tmp_path)
    with ExitStack() as stack:
        started: list[Running] = []
        for number, server in enumerate((PARLEY, PARLEY_TEXT, RAW)):
            copy = data.copy_of(file, tmp_path / f"{number}.copy")
            started.append(stack.enter_context(running(server, str(copy), tmp_path / str(number), Cores())))
        for operation in OPERATIONS.values():
            check_same(started, operation, data.subjects(file, have_events=operation.has_events))


def test_each_request_asks_for_another_page_or_conversation_in_an_order_that_is_fixed(tmp_path: Path) -> None:
    file = data.sqlite_file(300, tmp_path)
    for operation in OPERATIONS.values():
        subjects = data.subjects(file, have_events=operation.has_events)
        assert subjects == data.subjects(file, have_events=operation.has_events)
        # Behind the oldest there is no page.
        assert len(subjects) == 280
        turns = 49 if operation.has_events else 1
        assert len({operation.body(subjects, number) for number in range(280 * turns)}) == 280 * turns
        for server in (PARLEY, RAW):
            assert server.request(operation, subjects, 281) != server.request(operation, subjects, 280)
    subjects = data.subjects(file, have_events=False)
    assert OPERATIONS["q1"].body(subjects, 280) == OPERATIONS["q1"].body(subjects, 0)
    # A title that is there already would be written without an effect.
    assert OPERATIONS["m1"].body(subjects, 280) != OPERATIONS["m1"].body(subjects, 0)


@pytest.mark.timeout(270)
def test_on_postgresql_the_raw_limit_answers_what_parley_answers(tmp_path: Path) -> None:
    with ExitStack() as stack:
        database = stack.enter_context(filled(300))
        urls = stack.enter_context(database.copies(2))
        started = [
            stack.enter_context(running(server, url, tmp_path / str(number), Cores()))
            for number, (server, url) in enumerate(zip((PARLEY, RAW), urls, strict=True))
        ]
        for operation in OPERATIONS.values():
            subjects = database.subjects(have_events=operation.has_events)
            assert subjects == data.subjects(data.sqlite_file(300, tmp_path), have_events=operation.has_events)
            check_same(started, operation, subjects)


@pytest.mark.timeout(270)
@pytest.mark.parametrize(
    ("name", "title"),
    [("q1", "Q1: a page of 20 conversations"), ("postgres_q2", "Q2 on PostgreSQL: one conversation")],
)
def test_an_operation_is_measured_and_printed(name: str, title: str) -> None:
    measured = run(name, SERVERS="Parley", ROUNDS="2", SECONDS="0.1", CONNECTIONS="2", CONVERSATIONS="300")
    assert measured.returncode == 0, measured.stderr
    printed, _, _, _, *rows = measured.stdout.strip().split("\n")
    assert printed == title
    assert sorted(row.split(" | ")[0] for row in rows) == ["| Parley", "| raw limit"]
    [raw] = [row.split(" | ") for row in rows if row.startswith("| raw limit")]
    assert raw[2:4] == ["1.00", "1.00–1.00"]


def test_runs_are_measured_and_printed_on_both_databases() -> None:
    measured = run("runs", ROUNDS="1", RUNS="1", CALLS="1")
    assert measured.returncode == 0, measured.stderr
    title, _, head, _, *rows = measured.stdout.splitlines()
    assert title == "runs: 1 interleaved rounds, medians; a run with tools has 10 calls of file tools"
    assert head == "| | CPU, ms | wall, ms | CPU by LiteLLM's | statements | commits | rollbacks |"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    # The test asks for other servers only.
    assert cells.pop(3)[0] == "OpenHands' agent server: skipped, not installed"
    assert [row[0] for row in cells] == [
        "LiteLLM's call, beside SQLite",
        "SQLite, without tools",
        "SQLite, 10 tool calls",
        "LiteLLM's call, beside PostgreSQL",
        "PostgreSQL, without tools",
        "PostgreSQL, 10 tool calls",
    ]
    for call, plain, tools in (cells[:3], cells[3:]):
        assert call[3:] == ["1.00", "0", "0", "0"]
        assert float(plain[1]) > float(call[1]) > 0
        statements, commits = (int(figure) for figure in plain[4:6])
        # A run begins, says that it works, and ends; each of the calls is begun and answered.
        assert statements > commits >= 3
        assert int(tools[4]) > 10 * 2
        assert int(tools[5]) >= commits + 10 * 2


@pytest.mark.timeout(270)
def test_runs_at_once_and_conversations_that_wait_are_measured_on_both_databases() -> None:
    few = {"ALONE": "2", "TOGETHER": "3", "RUNS": "4", "CONVERSATIONS": "6", "WARM_UP": "1"}
    measured = run("run_load", IDLE="0.5", SECONDS="0.5", **few)
    assert measured.returncode == 0, measured.stderr
    title, _, head, _, *rows = measured.stdout.splitlines()
    assert title == "run_load: 1 rounds of 2 runs one after the other and 3 at once"
    assert head == "| | SQLite | PostgreSQL |"
    cells = {name: figures for name, *figures in ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)}
    assert cells["4 runs at once: finished"] == ["4", "4"]
    for figures in cells["one after the other: the request at the model, p50 / p99, ms"]:
        p50, p99 = map(float, figures.split(" / "))
        assert 0 < p50 <= p99
    assert len(cells) == 8
