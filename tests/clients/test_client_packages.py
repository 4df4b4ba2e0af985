"""The clients' package files: few packages, pinned, and from nowhere in particular."""

import json
import re

import pytest

from tests.support.paths import CLIENTS

LOCKED = sorted(path.parent.name for path in CLIENTS.glob("*/package-lock.json"))


def test_there_are_clients() -> None:
    assert {"apollo", "urql"} <= set(LOCKED)


@pytest.mark.parametrize("name", LOCKED)
def test_a_client_is_private_and_pins_what_it_uses(name: str) -> None:
    package = json.loads((CLIENTS / name / "package.json").read_text())
    wanted = {**package.get("dependencies", {}), **package.get("devDependencies", {})}

    assert (package["private"], package["type"]) == (True, "module")
    assert [version for version in wanted.values() if not re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", version)] == []


@pytest.mark.parametrize("name", LOCKED)
def test_a_clients_lock_file_has_every_package_by_its_hash_and_names_no_address(name: str) -> None:
    text = (CLIENTS / name / "package-lock.json").read_text()
    packages = {place: package for place, package in json.loads(text)["packages"].items() if place}

    assert [place for place, package in packages.items() if not package["integrity"].startswith("sha512-")] == []
    # Their funding pages apart, which npm keeps too.
    assert re.findall(r'"(?!url")[^"]+": "(?:https?|git)[^"]*//[^"]*"', text) == []
    assert [place for place, package in packages.items() if "resolved" in package] == []
