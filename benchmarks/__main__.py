"""``python -m benchmarks [name …]``: run all benchmarks, or the named ones."""

import asyncio
import sys

from benchmarks import fan_out

BENCHMARKS = {"fan_out": fan_out.main}


def run(names: list[str]) -> int:
    """Run the named benchmarks, or all of them."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"Unknown: {', '.join(unknown)}. There are: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        asyncio.run(BENCHMARKS[name]())
    return 0


sys.exit(run(sys.argv[1:]))
