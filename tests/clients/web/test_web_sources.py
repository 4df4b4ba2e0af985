"""The front end's sources: their types, and the weight of what is built of them."""

import gzip
import re

from tests.support.node import check_types, generate_types
from tests.support.paths import ROOT

BUILD = ROOT / "app" / "static" / "web"
MOST_BYTES = 200_000


async def test_its_documents_fit_the_schema_and_its_types_fit_them() -> None:
    assert await generate_types("web") == ""
    assert await check_types("web") == ""


def test_the_page_weighs_little_before_a_conversation_is_opened() -> None:
    page = (BUILD / "index.html").read_text()
    names = re.findall(r'(?:src|href)="/app/(assets/[^"]+)"', page)

    assert len(names) >= 3
    assert len(page) + sum(len(gzip.compress((BUILD / name).read_bytes())) for name in names) < MOST_BYTES
