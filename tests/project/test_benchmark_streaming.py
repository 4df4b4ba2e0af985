"""The benchmark of streaming answers runs in small; how large its figures are is nobody's promise here."""

import re

from tests.project.test_benchmarks import run

FIRST = re.compile(
    r"^(bare HTTP|LiteLLM|Parley) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +(-?[\d.]+) +(-?[\d.]+)$", re.MULTILINE
)
BESIDE = re.compile(r"^(none|2) +([\d.]+) +([\d.]+) +([\d.]+)$", re.MULTILINE)
LAST = r"p99 with streams to p99 without: [\d.]+ \([\d.]+-[\d.]+\); CPU \d+%; (\d+) pieces came in (\d+) messages\n$"


def test_the_first_piece_and_the_pages_beside_streams_are_measured_and_printed() -> None:
    measured = run("streaming", ANSWERS="2", STREAMS="2", SECONDS="0.2", RATE="50", CONVERSATIONS="300")
    assert measured.returncode == 0, measured.stderr
    title = "streaming: the first piece of an answer, 1 interleaved rounds of 2 answers, in milliseconds\n"
    assert measured.stdout.startswith(title)
    first = {name: [float(figure) for figure in figures] for name, *figures in FIRST.findall(measured.stdout)}
    assert list(first) == ["bare HTTP", "LiteLLM", "Parley"]
    for in_p50, in_p99, out_p50, out_p99, *_ in first.values():
        assert 0 < in_p50 <= in_p99
        assert 0 < out_p50 <= out_p99
    assert first["bare HTTP"][4:] == [0, 0]
    beside = {name: [float(figure) for figure in figures] for name, *figures in BESIDE.findall(measured.stdout)}
    assert list(beside) == ["none", "2"]
    for p50, p99, most in beside.values():
        assert 0 < p50 <= p99 <= most
    found = re.search(LAST, measured.stdout)
    assert found is not None, measured.stdout
    assert 1 < int(found[2]) <= int(found[1])
