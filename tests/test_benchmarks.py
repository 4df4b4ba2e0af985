"""The benchmarks run and print their figures; how large those are is nobody's promise here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert (refused.returncode, refused.stderr) == (2, "Unknown: nothing. There are: fan_out.\n")
