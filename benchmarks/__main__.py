"""``python -m benchmarks [name …]``: run all benchmarks, or the named ones. ``make bench`` does, with ``ONLY=name``."""

import asyncio
import signal
import sys
from collections.abc import Callable
from types import FrameType

from benchmarks import fan_out, growth, http, report, start
from benchmarks.operations import OPERATIONS

BENCHMARKS: dict[str, Callable[[], None]] = {
    "fan_out": lambda: asyncio.run(fan_out.main()),
    "growth": growth.main,
    "start": lambda: asyncio.run(start.main()),
}
# A million conversations have to be made first.
ONLY_BY_NAME = {"growth"}


def run(names: list[str]) -> int:
    """Run the named benchmarks, or all that take no longer than minutes; all together write the results."""
    known = [*OPERATIONS, *BENCHMARKS]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"Unknown: {', '.join(unknown)}. There are: {', '.join(known)}.", file=sys.stderr)
        return 2
    tables: dict[str, list[report.Line]] = {}
    for name in names or [name for name in known if name not in ONLY_BY_NAME]:
        if name in BENCHMARKS:
            BENCHMARKS[name]()
            continue
        title = OPERATIONS[name].title
        tables[title] = http.measure(name)
        print(f"{title}\n\n{report.table(tables[title])}\n", flush=True)
    if not names:
        setting = f"{http.CONVERSATIONS:,} conversations, {http.CONNECTIONS} connections, {http.ROUNDS} rounds."
        report.write(tables, setting)
    return 0


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit("The benchmarks were ended.")


# Otherwise what `make bench` gives up after 15 minutes would leave its servers behind.
signal.signal(signal.SIGTERM, _end)
sys.exit(run(sys.argv[1:]))
