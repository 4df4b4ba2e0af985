"""Compares pages of conversations in a small and a large table: the first page and deep pages, for each filter.

There is one Parley for each size, measured in interleaved rounds over one connection. ``SIZES`` (two numbers of
conversations), ``ROUNDS`` and ``CASES`` come from the environment. With the default sizes it writes GROWTH.md.

The first page is always the same; deep pages begin at twenty places. A warm-up round is discarded, so all data is in
SQLite's cache (64 MB for each connection) or the system's: the disk is not measured.

A common text is in a seventh of the titles, a rare one in three titles of either table. "One in 10,000" is in one title
of the small table and in a hundred of the large one; all of those are read and sorted, so it costs more there.
"""

import json
import os
import platform
import random
import sqlite3
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks import data
from benchmarks.load import Cores, Request, send
from benchmarks.operations import FIELDS, PAGE_INFO
from benchmarks.servers import PARLEY_TEXT, Running, on, running

ROUNDS = int(os.environ.get("ROUNDS", "7"))
USUAL_SIZES = [10_000, 1_000_000]
SIZES = [int(size) for size in os.environ.get("SIZES", "10000,1000000").split(",")]
SECONDS = float(os.environ.get("SECONDS", "0.3"))
# Every case is asked once before; no more than these are measured.
CASES = int(os.environ.get("CASES", "100"))
PLACES = 20
RESULTS = Path(__file__).parent / "GROWTH.md"
DOCUMENT = (
    "query Page($filter: ConversationFilter, $after: String) "
    "{ conversations(first: 20, filter: $filter, after: $after) "
    f"{{ edges {{ cursor node {{ {FIELDS} }} }} {PAGE_INFO} }} }}"
)


@dataclass(frozen=True)
class Table:
    """A server with a table of one size, and the requests of each case."""

    server: Running
    requests: dict[str, list[bytes]]

    def milliseconds(self, case: str) -> float:
        """Measure the median latency of a page."""
        return send(self.server.port, self.requests[case], connections=1, seconds=SECONDS).percentile(0.5)


def main() -> None:
    """Measure, print and write."""
    few, many = SIZES
    cores = Cores.of_machine()
    lines = [
        f"| filter | page | among {few:,}, ms | among {many:,}, ms | ratio | spread |",
        "|---|---|--:|--:|--:|--:|",
    ]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        tables: list[Table] = []
        for size in SIZES:
            file = data.sqlite_file(size)
            copy = data.copy_of(file, directory / f"{size}.db")
            server = stack.enter_context(running(PARLEY_TEXT, str(copy), directory / str(size), cores))
            tables.append(Table(server, _requests(server, file, size)))
        stack.enter_context(on(cores.load))
        print("\n".join(lines), flush=True)
        for case in list(tables[0].requests)[:CASES]:
            lines.append(_line(case, [_round(case, tables) for _ in range(ROUNDS + 1)][1:]))
            print(lines[-1], flush=True)
    if SIZES == USUAL_SIZES:
        RESULTS.write_text(_results(lines))


def _round(case: str, tables: list[Table]) -> list[float]:
    times = {id(table): table.milliseconds(case) for table in random.sample(tables, len(tables))}
    return [times[id(table)] for table in tables]


def _line(case: str, rounds: list[list[float]]) -> str:
    few, many = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratios = [many / few for few, many in rounds]
    name, page = case.rsplit(" ", 1)
    spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
    return f"| {name} | {page} | {few:.2f} | {many:.2f} | {statistics.median(ratios):.2f} | {spread} |"


def _results(lines: Sequence[str]) -> str:
    return (
        "# Growth\n\n"
        f"Written by `make bench ONLY=growth` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} processors, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}. A page of 20 conversations, over HTTP; medians of {ROUNDS} interleaved rounds, and "
        "the ratio within one round with its least and most. [How it is measured](growth.py).\n\n"
    ) + "\n".join([*lines, ""])


def _requests(server: Running, file: Path, size: int) -> dict[str, list[bytes]]:
    middle = _moment(size, 0.5)
    filters: dict[str, dict[str, Any] | None] = {
        "none": None,
        "status": {"status": ["RUNNING"]},
        "statuses": {"status": ["STOPPED", "ERROR"]},
        "trigger": {"trigger": ["API"]},
        "repository": {"repositoryId": _repository(file)},
        "created after": {"createdAfter": middle},
        "created before": {"createdBefore": middle},
        "updated after": {"updatedAfter": middle},
        "updated before": {"updatedBefore": middle},
        "title, common": {"titleContains": "parser"},
        "title, rare": {"titleContains": data.RARE_TEXT},
        "title, absent": {"titleContains": "wombats"},
        "title, absent letter": {"titleContains": "~"},
        "title, rare, and status": {"titleContains": data.RARE_TEXT, "status": ["STOPPED", "ERROR", "RUNNING"]},
        "title, one in 10,000": {"titleContains": "issue 4242"},
    }
    encoded: dict[str, list[bytes]] = {}
    for name, wanted in filters.items():
        # Deep pages begin in the part of the time range that the filter allows.
        low, high = (0.5, 1.0) if "after" in name else (0.0, 0.5) if "before" in name else (0.0, 1.0)
        places = [low + (high - low) * (number + 0.5) / PLACES for number in range(PLACES)]
        deep = [_cursor(server, _moment(size, place)) for place in places]
        for page, cursors in (("first", [None]), ("deep", deep)):
            requests = [_request(wanted, cursor) for cursor in cursors]
            for request in requests:
                answer = server.ask(request)
                if "errors" in answer:
                    raise RuntimeError(f"{name}: {answer['errors']}")
                has_rows = bool(answer["data"]["conversations"]["edges"])
                if page == "first" and not name.startswith("title, one") and has_rows is ("absent" in name):
                    raise RuntimeError(f"{name}: {answer}")
            encoded[f"{name} {page}"] = [request.encode(server.headers()) for request in requests]
    return encoded


def _moment(size: int, part: float) -> str:
    return (data.BEGINNING + timedelta(seconds=data.SECONDS_APART * int(size * part))).isoformat()


def _cursor(server: Running, before: str) -> str:
    answer = server.ask(_request({"createdBefore": before}, None))
    cursor: str = answer["data"]["conversations"]["pageInfo"]["endCursor"]
    return cursor


def _request(wanted: dict[str, Any] | None, after: str | None) -> Request:
    body = {"query": DOCUMENT, "variables": {"filter": wanted, "after": after}}
    return Request("/graphql", json.dumps(body).encode())


def _repository(file: Path) -> str:
    connection = sqlite3.connect(file)
    [key] = connection.execute("SELECT min(id) FROM gitrepository").fetchone()
    connection.close()
    return f"repository:{UUID(key)}"
