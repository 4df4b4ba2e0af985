"""The benchmarks run and print their figures; how large those are is nobody's promise here."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import data
from benchmarks.operations import OPERATIONS
from benchmarks.servers import RAW, Running, parley, running

ROOT = Path(__file__).parent.parent
SECONDS = 100
FIGURES = re.compile(r"^(\w+(?: \w+)?) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) ", re.MULTILINE)


def run(*names: str) -> subprocess.CompletedProcess[str]:
    """Few sockets and one round, without the server on Node, whose packages `make bench` installs."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *names],
        cwd=ROOT,
        env={**os.environ, "SOCKETS": "3", "ROUNDS": "1", "SERVERS": "parley,strawberry,bare websockets"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.timeout(120)
def test_the_fan_out_of_a_status_change_is_measured_and_printed() -> None:
    measured = run("fan_out")
    assert measured.returncode == 0, measured.stderr
    assert measured.stdout.startswith("fan_out: one status change to 3 sockets, 1 interleaved rounds\n")
    figures = {found[0]: [float(figure) for figure in found[1:]] for found in FIGURES.findall(measured.stdout)}
    assert list(figures) == ["parley", "strawberry", "bare websockets"]
    for first, p50, p99, last in figures.values():
        assert 0 <= first <= p50 <= p99 <= last


def test_a_benchmark_that_is_not_there_is_named() -> None:
    refused = run("nothing")
    assert (refused.returncode, refused.stderr) == (2, "Unknown: nothing. There are: q1, q2, q3, m1, fan_out.\n")


@pytest.mark.timeout(120)
def test_the_raw_limit_answers_what_parley_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "DIRECTORY", tmp_path)
    file = data.sqlite_file(300)
    with ExitStack() as stack:
        started: list[Running] = []
        for number, server in enumerate((parley(), RAW)):
            copy = data.copy_of(file, tmp_path / f"{number}.copy")
            started.append(stack.enter_context(running(server, str(copy), tmp_path / str(number), None)))
        for operation in OPERATIONS.values():
            ids = data.ids(file, with_events=operation.ids == "with events", limit=3)
            assert ids
            for body in operation.bodies(ids):
                # Twice, since an operation is compiled when it comes again.
                ours, again, raw = (found.ask("POST", "/graphql", body) for found in (started[0], *started))
                if operation.name == "Rename":
                    for answer in (ours, again, raw):
                        answer["data"]["renameConversation"]["conversation"].pop("updatedAt")
                assert ours == again == raw
