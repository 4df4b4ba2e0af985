"""``python -m benchmarks [name …]``: run all benchmarks, or the named ones. ``make bench`` does, with ``ONLY=name``."""

import asyncio
import signal
import sys
from collections.abc import Callable
from types import FrameType

from benchmarks import fan_out, floods, growth, http, http_postgres, report, run_load, runs, start, streaming
from benchmarks.operations import OPERATIONS

BENCHMARKS: dict[str, Callable[[], None]] = {
    "fan_out": lambda: asyncio.run(fan_out.main()),
    "floods": floods.main,
    "growth": growth.main,
    "run_load": run_load.main,
    "runs": runs.main,
    "start": lambda: asyncio.run(start.main()),
    "streaming": streaming.main,
}
# These only run if they are named: growth and streaming take long, and the others compare no servers.
ONLY_BY_NAME = {"floods", "growth", "run_load", "runs", "streaming"}


ON_POSTGRES = {f"postgres_{name}": name for name in OPERATIONS}


def run(names: list[str]) -> int:
    """Run the named benchmarks, or all that take only minutes, which also writes RESULTS.md."""
    known = [*OPERATIONS, *ON_POSTGRES, *BENCHMARKS]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"Unknown: {', '.join(unknown)}. There are: {', '.join(known)}.", file=sys.stderr)
        return 2
    chosen = names or [name for name in known if name not in ONLY_BY_NAME]
    tables = _over_http(chosen)
    for name in chosen:
        if name in BENCHMARKS:
            BENCHMARKS[name]()
    if not names:
        setting = f"{http.CONVERSATIONS:,} conversations, {http.CONNECTIONS} connections, {http.ROUNDS} rounds."
        report.write(tables, setting)
    return 0


def _over_http(names: list[str]) -> dict[str, list[report.Line]]:
    tables: dict[str, list[report.Line]] = {}

    def show(title: str, lines: list[report.Line]) -> None:
        tables[title] = lines
        print(f"{title}\n\n{report.table(lines)}\n", flush=True)

    for name in names:
        if name in OPERATIONS:
            show(OPERATIONS[name].title, http.measure(name))
    on_postgres = [ON_POSTGRES[name] for name in names if name in ON_POSTGRES]
    if on_postgres:
        with http_postgres.filled() as database:
            for name in on_postgres:
                show(http_postgres.title(name), http_postgres.measure(name, database))
    return tables


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit("The benchmarks were ended.")


# `make bench` sends SIGTERM after 30 minutes, whose default action would leave the servers running.
signal.signal(signal.SIGTERM, _end)
sys.exit(run(sys.argv[1:]))
