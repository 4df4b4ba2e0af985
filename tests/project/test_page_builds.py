"""The committed builds of the pages: the playground and the front end."""

import hashlib
import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# What says how to build, or to check, and is in no build.
APART = {"README.md", "tsconfig.json", ".gitignore", "graphql-env.d.ts", "screenshot.png"}


@dataclass(frozen=True)
class Build:
    """A page's sources, its build, and the path that it is served below."""

    sources: Path
    target: Path
    base: str
    made_by: str


BUILDS = [
    Build(ROOT / "playground", ROOT / "app" / "static" / "playground", "/playground/", "make playground"),
    Build(ROOT / "clients" / "web", ROOT / "app" / "static" / "web", "/app/", "make web"),
]


@pytest.fixture(params=BUILDS, ids=lambda build: build.made_by)
def build(request: pytest.FixtureRequest) -> Build:
    found: Build = request.param
    return found


class PageElements(HTMLParser):
    """The elements of a page: (tag, attributes)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def page(build: Build) -> PageElements:
    elements = PageElements()
    elements.feed((build.target / "index.html").read_text())
    return elements


def test_the_build_is_of_these_sources(build: Build) -> None:
    files = [path for path in build.sources.rglob("*") if path.is_file() and "node_modules" not in path.parts]
    digests = {
        path.relative_to(build.sources).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in APART
    }
    lines = [line.split("  ") for line in (build.target / "sources.sha256").read_text().splitlines()]
    built = {path: digest for digest, path in lines}

    assert built == digests, build.made_by


def test_everything_the_page_asks_for_is_there_below_one_path(build: Build, page: PageElements) -> None:
    addresses = [
        address for _, attributes in page.found for name in ("src", "href") if (address := attributes.get(name))
    ]

    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith(f"{build.base}assets/")
        assert (build.target / address.removeprefix(build.base)).is_file()


def test_every_asset_is_named_after_its_content(build: Build) -> None:
    names = [path.name for path in (build.target / "assets").iterdir()]

    assert [name for name in names if not re.fullmatch(r"[\w.-]+-[\w-]{8}\.(js|css|svg|ttf)", name)] == []


def test_the_page_needs_no_inline_script(page: PageElements) -> None:
    assert [attributes for tag, attributes in page.found if tag == "script" and "src" not in attributes] == []
    assert [name for _, attributes in page.found for name in attributes if name.startswith("on")] == []


def test_the_page_is_called_parley(build: Build) -> None:
    assert "<title>Parley</title>" in (build.target / "index.html").read_text()


@pytest.mark.parametrize(
    "trace",
    [
        pytest.param(rb"npmj[s]\.(org|com)|yarnpk[g]\.com/[\w@-]+/-/", id="registry"),
        pytest.param(rb"sourceMappin[g]URL=", id="source map"),
        pytest.param(rb"""["'`](/home/|/root/|/Users/)|""" + re.escape(bytes(ROOT)), id="machine path"),
        pytest.param(rb"""(import|Worker)\(\s*["'`]https?://""", id="foreign code"),
        pytest.param(rb"""url\(\s*["']?(https?:)?//""", id="foreign style"),
    ],
)
def test_no_file_of_the_build_has_a_trace_of(build: Build, trace: bytes) -> None:
    files = [path for path in build.target.rglob("*") if path.is_file()]

    assert [path.name for path in files if re.search(trace, path.read_bytes())] == []


def test_the_lock_file_names_no_addresses(build: Build) -> None:
    lock = json.loads((build.sources / "package-lock.json").read_text())

    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    assert [name for name, package in lock["packages"].items() if name and "integrity" not in package] == []
