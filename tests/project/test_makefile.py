"""The workshop: what the Makefile promises, and lock files that hold what pyproject.toml asks for."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import cast

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-install.lock")
PIN = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", re.MULTILINE)


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE)
    listed = make("help").stdout

    assert targets == [
        "help",
        "serve",
        "install",
        "test",
        "lint",
        "format",
        "bench",
        "profile",
        "fuzz",
        "lock",
        "playground",
        "web",
        "system",
    ]
    assert re.findall(r"^  make (\S+)", listed, re.MULTILINE) == targets


def test_without_python_the_message_says_what_is_missing(tmp_path: Path) -> None:
    result = make("serve", "PYTHON=", f"VENV={tmp_path}/venv")

    assert result.returncode != 0
    assert "Parley needs Python 3.11 or later" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_what_the_system_lacks_is_told_and_ends_nothing(tmp_path: Path) -> None:
    for name in ("sh", "id"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    result = make("system", path=str(tmp_path))

    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == (
        "bwrap is missing, so agents have no shell and its tests are skipped. "
        "On Debian and Ubuntu: sudo apt-get install bubblewrap\n"
        "git is missing, so repositories are not cloned and its tests are skipped. "
        "On Debian and Ubuntu: sudo apt-get install git\n"
    )


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_pins_every_package_by_hash_and_names_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = [entry for entry in re.split(r"\n(?=[\w])", text) if PIN.match(entry)]

    assert len(entries) == len(PIN.findall(text)) > 0
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert [line for line in text.splitlines() if re.search(r"://|--index|--find-links|^\s*# +/", line)] == []


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = cast("list[str]", project["project"]["dependencies"])
    dev = cast("list[str]", project["project"]["optional-dependencies"]["dev"])
    install = cast("list[str]", project["dependency-groups"]["install"])

    for name, wanted in zip(LOCKS, (runtime, runtime + dev, install), strict=True):
        pins = pinned(name)
        for requirement in map(Requirement, wanted):
            assert pins[canonicalize_name(requirement.name)] in requirement.specifier, f"{name}: make lock"


def test_tests_run_on_the_packages_that_are_served() -> None:
    development = pinned("requirements-dev.lock")

    assert {name: development[name] for name in pinned("requirements.lock")} == pinned("requirements.lock")


def pinned(name: str) -> dict[str, str]:
    """Package and version of each entry of the lock file ``name``."""
    return {canonicalize_name(package): version for package, version in PIN.findall((ROOT / name).read_text())}


def make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run make; with ``path``, its recipes find no other programs."""
    return subprocess.run(
        [str(shutil.which("make")), "--no-print-directory", *arguments],
        cwd=ROOT,
        env=dict(os.environ) | ({"PATH": path} if path else {}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
