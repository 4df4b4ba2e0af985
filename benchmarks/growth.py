"""What a page of conversations costs among few and among many: the first page and one deep inside, by each filter.

One Parley for each size, in interleaved rounds, asked over one connection. ``SIZES`` (two numbers of conversations) and
``ROUNDS`` come from the environment. A rare text is one of a single conversation in ten thousand.
"""

import json
import os
import random
import sqlite3
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks import data
from benchmarks.load import Cores, Request, send
from benchmarks.operations import FIELDS, PAGE_INFO
from benchmarks.servers import PARLEY_TEXT, Running, on, running

ROUNDS = int(os.environ.get("ROUNDS", "7"))
SIZES = [int(size) for size in os.environ.get("SIZES", "10000,1000000").split(",")]
SECONDS = 0.1
DOCUMENT = (
    "query Page($filter: ConversationFilter, $after: String) "
    "{ conversations(first: 20, filter: $filter, after: $after) "
    f"{{ edges {{ cursor node {{ {FIELDS} }} }} {PAGE_INFO} }} }}"
)


@dataclass(frozen=True)
class Table:
    """A server with so many conversations, and what is asked of it."""

    server: Running
    requests: dict[str, bytes]

    def milliseconds(self, case: str) -> float:
        """The median time of a page."""
        return send(self.server.port, [self.requests[case]], connections=1, seconds=SECONDS).percentile(0.5)


def main() -> None:
    """Measure and print."""
    few, many = SIZES
    cores = Cores.of_machine()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        tables: list[Table] = []
        for size in SIZES:
            file = data.sqlite_file(size)
            copy = data.copy_of(file, directory / f"{size}.db")
            server = stack.enter_context(running(PARLEY_TEXT, str(copy), directory / str(size), cores))
            tables.append(Table(server, _requests(server, file, size)))
        stack.enter_context(on(cores.load))
        print(f"growth: a page of 20 among {few:,} and {many:,} conversations, {ROUNDS} interleaved rounds")
        print(f"{'filter':<22}{'page':<8}{'few ms':>10}{'many ms':>10}{'ratio':>10}{'least':>10}{'most':>10}")
        for case in tables[0].requests:
            _report(case, [_round(case, tables) for _ in range(ROUNDS + 1)][1:])


def _round(case: str, tables: list[Table]) -> list[float]:
    found = {id(table): table.milliseconds(case) for table in random.sample(tables, len(tables))}
    return [found[id(table)] for table in tables]


def _report(case: str, rounds: list[list[float]]) -> None:
    few, many = (statistics.median(found) for found in zip(*rounds, strict=True))
    ratios = [many / few for few, many in rounds]
    name, page = case.rsplit(" ", 1)
    print(
        f"{name:<22}{page:<8}{few:>10.2f}{many:>10.2f}{statistics.median(ratios):>10.2f}"
        f"{min(ratios):>10.2f}{max(ratios):>10.2f}",
        flush=True,
    )


def _requests(server: Running, file: Path, size: int) -> dict[str, bytes]:
    middle = (data.BEGINNING + timedelta(seconds=data.SECONDS_APART * size // 2)).isoformat()
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
        "title, rare": {"titleContains": "mend the parser of issue 4242"},
    }
    deep = server.ask(_request({"createdBefore": middle}, None))["data"]["conversations"]["pageInfo"]["endCursor"]
    found: dict[str, bytes] = {}
    for name, wanted in filters.items():
        for page, after in (("first", None), ("deep", deep)):
            request = _request(wanted, after)
            answer = server.ask(request)
            if "errors" in answer:
                raise RuntimeError(f"{name}: {answer['errors']}")
            found[f"{name} {page}"] = request.encode(server.headers())
    return found


def _request(wanted: dict[str, Any] | None, after: str | None) -> Request:
    body = {"query": DOCUMENT, "variables": {"filter": wanted, "after": after}}
    return Request("/graphql", json.dumps(body).encode())


def _repository(file: Path) -> str:
    connection = sqlite3.connect(file)
    [key] = connection.execute("SELECT min(id) FROM gitrepository").fetchone()
    connection.close()
    return str(UUID(key))
