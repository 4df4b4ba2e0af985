"""The benchmark of floods runs in small; how large its figures are is nobody's promise here."""

import re

from benchmarks.flooder import KINDS
from tests.project.test_benchmarks import run

LINE = re.compile(r"^this +(\w+) +(\d+) +([\d.]+)((?: +[\d.]+){9})$", re.MULTILINE)


def test_other_callers_beside_each_flood_are_measured_and_printed() -> None:
    measured = run("floods", FLOOD_SOCKETS="3", SECONDS="0.4", RATE="50", CONVERSATIONS="300")
    assert measured.returncode == 0, measured.stderr
    title = (
        "floods: other callers beside strangers' WebSockets, 1 interleaved rounds of 0.4 s, 50 requests of each kind"
    )
    assert measured.stdout.startswith(title)
    lines = {
        kind: (sockets, opened, figures.split()) for kind, sockets, opened, figures in LINE.findall(measured.stdout)
    }
    assert list(lines) == ["idle", *KINDS]
    for kind, (sockets, opened, figures) in lines.items():
        assert int(sockets) == (0 if kind == "idle" else 3)
        # Each socket is opened again when the server has ended it.
        assert float(opened) * 0.4 >= (0 if kind == "idle" else 3)
        for p50, p99, most in zip(*[iter(map(float, figures))] * 3, strict=True):
            assert 0 < p50 <= p99 <= most
