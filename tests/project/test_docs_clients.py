"""docs/clients.md: it knows every client, and leads where it says."""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "clients.md"
TEXT = DOCUMENT.read_text()
LINKS = sorted(set(re.findall(r"\]\((?!http)([^)]+)\)", TEXT)))
HEADINGS = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Of its headings, as git hosts make them."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in HEADINGS.findall(document.read_text())
    }


@pytest.mark.parametrize("link", LINKS)
def test_a_link_leads_somewhere(link: str) -> None:
    path, _, anchor = link.partition("#")
    target = DOCUMENT.parent / path if path else DOCUMENT

    assert target.is_file()
    assert not anchor or anchor in anchors(target)


def test_every_client_is_documented() -> None:
    documented = set(re.findall(r"\.\./clients/(\w+)/README\.md", TEXT))

    assert documented == {readme.parent.name for readme in (ROOT / "clients").glob("*/README.md")}
