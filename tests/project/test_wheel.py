"""The package, as ``pip install`` gives it to somebody who has neither a checkout nor Node."""

import asyncio
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.support.client import NO_TLS
from tests.support.paths import ROOT
from tests.support.patience import PROGRAM_SECONDS
from tests.support.processes import printed


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel. What it depends on is what these tests run on."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=PROGRAM_SECONDS,
    )
    [wheel] = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "site")
    return directory / "site"


def test_it_holds_the_program_and_nothing_else(installed: Path) -> None:
    found = {path.name for path in installed.iterdir()}
    assert {name for name in found if not name.endswith(".dist-info")} == {"app"}
    assert not list(installed.rglob("*.pyc"))


async def test_it_serves_its_pages_and_answers(installed: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        "serve",
        "--port",
        "0",
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = (await printed(process, "Parley ready at ")).rstrip("/")
        async with httpx.AsyncClient(base_url=url, verify=NO_TLS, timeout=PROGRAM_SECONDS) as http:
            pages = [(await http.get(address)).text for address in ("/", "/app")]
            assets = [asset for page in pages for asset in re.findall(r'"(/(?:playground|app)/assets/[^"]+)"', page)]
            assert len(assets) >= 6
            for asset in assets:
                assert (await http.get(asset)).status_code == 200
            answer = await http.post("/graphql", json={"query": "{ settings { id } }"})
            assert answer.json() == {"data": {"settings": None}}
    finally:
        process.terminate()
        await process.communicate()
