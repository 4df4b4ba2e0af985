"""A client that ariadne-codegen generates, against a running server: ``clients/python``."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import steps
from tests.support.client import Client
from tests.support.paths import ROOT
from tests.support.patience import PROGRAM_SECONDS
from tests.support.scripted_llm import ScriptedLLM, last_user_text
from tests.support.server import RunningServer, running_server

DIRECTORY = ROOT / "clients" / "python"
PROGRAMS = DIRECTORY / ".venv" / "bin"
TOUR = (DIRECTORY / "tour.py").read_text()
# Above what each program takes on a busy machine, below what a test may take.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """What is tried is on this side of the database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data")) as started:
        yield started


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client is, generated from the schema as it is now."""
    assert (PROGRAMS / "ariadne-codegen").exists(), "make install"
    directory = tmp_path_factory.mktemp("client")
    config = (DIRECTORY / "pyproject.toml").read_text().replace('path = "."', f'path = "{directory}"')
    (directory / "config.toml").write_text(config)
    code, output = asyncio.run(run(PROGRAMS / "ariadne-codegen", "--config", directory / "config.toml"))
    assert code == 0, output
    return directory


async def run(program: Path, *arguments: str | Path, **environment: str) -> tuple[int, str]:
    """Its exit code, and all that it wrote."""
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        cwd=DIRECTORY,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PROGRAM_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode()


async def check_types(packages: Path, name: str, program: str) -> tuple[int, str]:
    """What pyright says of a program that uses the generated client."""
    (packages / f"{name}.py").write_text(program)
    # The program alone is looked at; the client's own code is only what it is checked against.
    given = {"include": [f"{name}.py"], "pythonVersion": "3.11", "typeCheckingMode": "strict"}
    config = packages / f"{name}.json"
    config.write_text(json.dumps(given))
    pyright = Path(sys.executable).parent / "pyright"
    return await run(pyright, "--project", config, "--pythonpath", PROGRAMS / "python")


async def test_a_generated_client_creates_watches_and_deletes(packages: Path, client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    outcome = await run(
        PROGRAMS / "python",
        "tour.py",
        PARLEY_URL=client.server.url,
        PARLEY_TOKEN=client.token,
        PYTHONPATH=str(packages),
    )

    assert outcome == (0, "USER: Hello\nAGENT: answer to Hello\nfound: True\ndeleted: True\nleft: []\n")
    assert [last_user_text(request.body) for request in llm.requests] == ["Hello"]
    assert await client.execute("{ conversations { totalCount } }") == {"conversations": {"totalCount": 0}}


async def test_a_generated_client_tells_an_expected_failure(packages: Path, client: Client) -> None:
    code, output = await run(
        PROGRAMS / "python",
        "tour.py",
        PARLEY_URL=client.server.url,
        PARLEY_TOKEN=client.token,
        PYTHONPATH=str(packages),
    )

    assert (code, output.split(":")[0]) == (1, "CONFIGURATION_SETTINGS_NOT_FOUND")
    assert await client.execute("{ conversations { totalCount } }") == {"conversations": {"totalCount": 0}}


async def test_the_program_is_well_typed(packages: Path) -> None:
    outcome = await check_types(packages, "tour", TOUR)

    assert outcome == (0, "0 errors, 0 warnings, 0 informations\n")


async def test_a_program_that_takes_a_field_nobody_asked_for_is_not(packages: Path) -> None:
    faulty = TOUR.replace("[conversation.id for", "[conversation.trigger for")
    code, output = await check_types(packages, "faulty", faulty)

    assert code == 1
    assert 'Attribute "trigger" is unknown' in output


def test_what_is_installed_is_pinned_by_hash_and_from_nowhere_in_particular() -> None:
    text = (DIRECTORY / "requirements.lock").read_text()
    entries = re.split(r"\n(?=[\w])", text)[1:]

    assert len(entries) > 10
    assert [entry for entry in entries if not re.match(r"[\w.-]+(\[[\w,]+\])?==", entry)] == []
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert [line for line in text.splitlines() if re.search(r"://|--index|--find-links|^\s*# +/", line)] == []
