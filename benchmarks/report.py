"""What was measured, as a table, a file and a picture."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = ("strawberry-graphql", "graphql-core", "starlette", "uvicorn", "uvloop", "orjson", "sqlmodel", "asyncpg")
BAR_HEIGHT, BAR_WIDTH, NAME_WIDTH = 22, 420, 190


@dataclass(frozen=True)
class Line:
    """One server's medians. ``ratio`` is to the raw limit, within one round; ``least`` and ``most`` are its spread."""

    name: str
    rate: float
    ratio: float
    least: float
    most: float
    cpu: float
    p50: float
    p99: float


def table(lines: Sequence[Line]) -> str:
    """In Markdown, the fastest first."""
    rows = [
        "| server | requests/s | to the raw limit | spread | CPU µs | p50 ms | p99 ms |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for line in sorted(lines, key=lambda line: -line.ratio):
        figures = f"{line.rate:,.0f} | {line.ratio:.3f} | {line.least:.2f}–{line.most:.2f} | {line.cpu:,.0f}"
        rows.append(f"| {line.name} | {figures} | {line.p50:g} | {line.p99:g} |")
    return "\n".join(rows)


def write(tables: Mapping[str, Sequence[Line]], setting: str) -> None:
    """Write RESULTS.md and results.svg."""
    parts = [f"## {title}\n\n{table(lines)}\n" for title, lines in tables.items()]
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    node = json.loads((HERE / "peers" / "node" / "package.json").read_text())["dependencies"]
    peers = ", ".join(f"{name} {found}" for name, found in node.items())
    head = (
        "# Results\n\n"
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} processors, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}. {setting} Parley checks tokens, limits and "
        "documents; the raw limit does nothing but the work itself. Machines differ: what counts are the ratios.\n\n"
        f"![Ratios to the raw limit](results.svg)\n"
    )
    foot = f"## Versions\n\n{packages}. On Node: {peers}.\n"
    (HERE / "RESULTS.md").write_text("\n".join([head, *parts, foot]))
    (HERE / "results.svg").write_text(picture(tables))


def picture(tables: Mapping[str, Sequence[Line]]) -> str:
    """A bar for each server, as long as its ratio."""
    parts: list[str] = []
    top = 0
    for title, lines in tables.items():
        parts.append(f'<text x="0" y="{top + 16}" font-weight="bold">{escape(title)}</text>')
        top += BAR_HEIGHT + 4
        longest = max(*(line.ratio for line in lines), 1.0)
        for line in sorted(lines, key=lambda line: -line.ratio):
            width = max(1, round(line.ratio / longest * BAR_WIDTH))
            colour = "#2563eb" if line.name.startswith("Parley") else "#94a3b8"
            parts += [
                f'<text x="{NAME_WIDTH - 8}" y="{top + 15}" text-anchor="end">{escape(line.name)}</text>',
                f'<rect x="{NAME_WIDTH}" y="{top + 2}" width="{width}" height="{BAR_HEIGHT - 6}" fill="{colour}"/>',
                f'<text x="{NAME_WIDTH + width + 6}" y="{top + 15}">{line.ratio:.3f}</text>',
            ]
            top += BAR_HEIGHT
        top += 14
    size = f'width="{NAME_WIDTH + BAR_WIDTH + 60}" height="{top}"'
    style = "<style>text { font: 13px sans-serif; fill: #334155 } rect.back { fill: #ffffff }</style>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}<rect class="back" width="100%" height="100%"/>'
        f"{''.join(parts)}</svg>\n"
    )
