"""What a sandbox promises, as ``Sandbox`` has it: bubblewrap keeps it here, really."""

import asyncio
import contextlib
import gc
import logging
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from app.services.filesystem.files import WorkspaceFiles
from app.services.sandbox.base import SandboxUnavailable
from app.services.sandbox.bubblewrap import BubblewrapSandbox
from app.services.sandbox.identity import sandbox_uid
from app.services.sandbox.output import MAX_OUTPUT_BYTES
from tests.support.paths import ROOT
from tests.support.patience import WAIT_SECONDS
from tests.support.sandboxes import LIMITS, MEBIBYTE, Place, needs_sandbox, processes_with, until_gone, until_there

pytestmark = needs_sandbox


async def test_a_command_runs_in_the_workspace(place: Place) -> None:
    (place.path / "a.txt").write_text("from outside\n")
    found = await place.run("pwd; cat a.txt; echo inside > b.txt; echo error >&2; exit 3")
    assert (found.exit_code, found.output) == (3, "/workspace\nfrom outside\nerror\n")
    assert (found.truncated, found.output_path, found.limit) == (False, None, None)
    assert (place.path / "b.txt").read_text() == "inside\n"


async def test_a_signal_is_told_as_a_shell_tells_it(place: Place) -> None:
    assert (await place.run("kill -SEGV $$")).exit_code == 139


async def test_the_working_directory_is_kept(place: Place) -> None:
    assert (await place.run("mkdir -p deep/er && cd deep/er")).directory == "/workspace/deep/er"
    assert (await place.run("pwd")).output == "/workspace/deep/er\n"
    assert (await place.run("cd .. && exit 1")).directory == "/workspace/deep"
    # A command that is killed leaves it as it was.
    await place.run("cd /; kill -9 $$")
    assert (await place.run("pwd")).output == "/workspace/deep\n"


@pytest.mark.parametrize(
    "forged",
    ["/etc", "/workspace/../etc", "/workspacex", "-P /workspace", "/workspace/\x01", "x" * 5000, "\udcff", ""],
)
async def test_a_forged_working_directory_is_the_workspace(place: Place, forged: str) -> None:
    place.directory = "/workspace"
    await place.run("true")
    (place.path / ".parley" / "directory").write_bytes(forged.encode("utf-8", "surrogateescape"))
    assert (await place.run("trap - EXIT; pwd")).directory == "/workspace"


@pytest.mark.parametrize(
    "made",
    [
        "mkfifo .parley/directory",
        "mkfifo pipe && ln -s /workspace/pipe .parley/directory",
        "mkdir -p .parley/directory/x",
        "ln -s /dev/zero .parley/directory",
        """python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('.parley/directory')\"""",
        "rm -r .parley && mkfifo .parley",
    ],
    ids=["pipe", "link to a pipe", "directory", "device", "socket", "all of it"],
)
async def test_no_command_waits_for_what_another_left_in_the_place_of_its_notes(place: Place, made: str) -> None:
    found = await place.run(f"rm -rf .parley/directory; {made}")
    assert (found.exit_code, found.limit) == (0, None)
    found = await place.run("echo done; exit 3")
    assert "done\n" in found.output
    assert (found.exit_code, found.limit) == (3, None)


async def test_a_workspace_that_a_command_closed_is_open_to_the_next(place: Place) -> None:
    await place.run("touch a; mkdir -p closed/inner; chmod 000 closed/inner closed .")
    files = WorkspaceFiles(place.path, sandbox_uid(place.conversation_id))
    assert [entry.name for entry in files.list(".", 10).entries] == [".parley", "a", "closed"]
    await place.run("chmod 000 .")
    found = await place.run("ls; rmdir closed/inner")
    assert (found.exit_code, found.output.splitlines()[:2]) == (1, ["a", "closed"])
    assert (await place.run("chmod -R u+rwx closed && rm -r closed")).exit_code == 0


@pytest.mark.parametrize("directory", ["/", "/tmp", "/nowhere", "-x", "$(id)"])
async def test_a_directory_outside_or_gone_is_the_workspace(place: Place, directory: str) -> None:
    place.directory = directory
    assert (await place.run("pwd")).output == "/workspace\n"


async def test_output_streams_while_the_command_runs(place: Place) -> None:
    pieces: list[str] = []
    ended: list[bool] = []

    async def on_output(text: str) -> None:
        pieces.append(text)
        if "".join(pieces) == "first\n":
            # Only this lets the command go on, so the piece came while it ran.
            (place.path / "go").touch()
            ended.append(False)

    found = await place.run("echo first; until [ -e go ]; do sleep 0.01; done; echo second", on_output=on_output)
    assert ended == [False]
    assert ("".join(pieces), found.output) == ("first\nsecond\n", "first\nsecond\n")


async def test_output_that_is_no_text_is_replaced(place: Place) -> None:
    pieces: list[str] = []

    async def on_output(text: str) -> None:
        pieces.append(text)

    found = await place.run(r"printf 'a\xffb\0c\xe2\x82'; sleep 0.1; printf '\xac'", on_output=on_output)
    assert found.output == "a\ufffdb\0c€"
    assert "".join(pieces) == found.output


async def test_long_output_keeps_head_and_tail_and_the_whole_in_the_workspace(place: Place) -> None:
    found = await place.run("seq 1 10000")
    whole = "".join(f"{number}\n" for number in range(1, 10001))
    assert found.truncated
    assert found.output_path == "/workspace/.parley/output/1.txt"
    assert found.output.startswith(whole[:500] + "\n[… ")
    assert found.output.endswith("is in /workspace/.parley/output/1.txt …]\n" + whole[-500:])
    assert (place.path / ".parley" / "output" / "1.txt").read_text() == whole
    assert (place.path / ".parley" / ".gitignore").read_text() == "*\n"
    assert (await place.run("seq 1 10000")).output_path == "/workspace/.parley/output/2.txt"


async def test_whole_outputs_are_kept_for_the_last_twenty(place: Place) -> None:
    await place.run("for number in $(seq 1 25); do echo x > .parley/output/$number.txt; done")
    assert (await place.run("seq 1 1000")).output_path == "/workspace/.parley/output/26.txt"
    kept = sorted(int(path.stem) for path in (place.path / ".parley" / "output").iterdir())
    assert kept == list(range(7, 27))


async def test_an_output_directory_that_leads_elsewhere_keeps_nothing(place: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    await place.run(f"rm -rf .parley/output && ln -s {elsewhere} .parley/output")
    found = await place.run("seq 1 1000")
    assert (found.truncated, found.output_path) == (True, None)
    assert "could not be kept" in found.output
    assert list(elsewhere.iterdir()) == []


async def test_a_command_that_takes_too_long_is_killed_whatever_it_ignores(place: Place) -> None:
    mark = uuid4().hex
    command = f"trap '' TERM INT HUP QUIT; echo begun; (exec -a {mark} sleep 1000) & while true; do sleep 1; done"
    found = await place.run(command, limits=replace(LIMITS, wall_seconds=2))
    assert (found.exit_code, found.output, found.limit) == (137, "begun\n", "it took longer than 2 s")
    await until_gone(mark)


async def test_what_is_left_in_the_background_ends_with_the_command(place: Place) -> None:
    mark = uuid4().hex
    found = await place.run(f"(exec -a {mark} sleep 1000) & setsid nohup sh -c 'sleep 1000; : {mark}' & echo done")
    assert (found.exit_code, found.output, found.limit) == (0, "done\n", None)
    await until_gone(mark)


async def test_cancelling_kills_the_whole_tree(place: Place) -> None:
    mark = uuid4().hex
    command = f"trap '' TERM; for i in 1 2 3; do (exec -a {mark} sleep 1000) & done; (exec -a {mark} sleep 1000)"
    running = asyncio.create_task(place.run(command))
    await until_there(mark)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.timeout(WAIT_SECONDS):
            await running
    await until_gone(mark)
    assert running.cancelled()


@pytest.mark.parametrize("milliseconds", [0, 2, 4, 6, 8, 10, 12, 15, 18, 22, 30])
async def test_cancelling_while_the_sandbox_is_being_made_leaves_nothing(place: Place, milliseconds: int) -> None:
    mark = uuid4().hex
    running = asyncio.create_task(place.run(f"(exec -a {mark} setsid sleep 1000) & exec -a {mark} sleep 1000"))
    await asyncio.sleep(milliseconds / 1000)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    # What is being made when its maker is killed ends by itself, before the command begins.
    await until_gone(mark)


SERVER_SCRIPT = """
import asyncio, sys
from pathlib import Path
from uuid import uuid4
from app.services.sandbox.bubblewrap import CHECK_LIMITS, BubblewrapSandbox

async def main():
    print("begins", flush=True)
    command = f"(exec -a {sys.argv[2]} setsid sleep 1000) & exec -a {sys.argv[2]} sleep 1000"
    await BubblewrapSandbox().run(uuid4(), Path(sys.argv[1]), command, directory="/", limits=CHECK_LIMITS)

asyncio.run(main())
"""


@pytest.mark.parametrize("milliseconds", [1, 3, 5, 7, 9, 11, 13, 16, 20, 25])
async def test_a_server_that_is_killed_while_a_sandbox_is_being_made_leaves_nothing(
    place: Place, milliseconds: int
) -> None:
    mark = uuid4().hex
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER_SCRIPT, str(place.path), mark, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    assert await server.stdout.readline() == b"begins\n"
    await asyncio.sleep(milliseconds / 1000)
    server.kill()
    await server.communicate()
    # What bubblewrap has not finished making runs no command, and is what the next server sweeps away.
    async with asyncio.timeout(WAIT_SECONDS):
        while processes_with(mark):
            await place.sandbox.sweep()


async def test_orphans_of_a_command_are_reaped(place: Place) -> None:
    found = await place.run(
        "for i in $(seq 100); do (true &) ; done; sleep 0.2; "
        "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    )
    assert (found.exit_code, found.output) == (0, "0\n")


async def test_endless_output_ends(place: Place) -> None:
    found = await place.run("yes")
    assert found.exit_code == 137
    assert found.limit == "it wrote more than 16 MiB of output"
    assert (place.path / ".parley" / "output" / "1.txt").stat().st_size == MAX_OUTPUT_BYTES


async def test_a_failing_listener_ends_the_command(place: Place) -> None:
    mark = uuid4().hex

    async def on_output(text: str) -> None:
        raise RuntimeError(text)

    with pytest.raises(RuntimeError, match="begun"):
        await place.run(f"echo begun; exec -a {mark} sleep 1000", on_output=on_output)
    await until_gone(mark)


async def test_a_file_larger_than_the_limit_can_not_be_written(place: Place) -> None:
    found = await place.run(
        "dd if=/dev/zero of=big bs=1M count=10 2>&1 | tail -c 60",
        limits=replace(LIMITS, file_bytes=4 * MEBIBYTE),
    )
    assert (place.path / "big").stat().st_size == 4 * MEBIBYTE
    assert found.limit is None


async def test_processor_time_is_limited(place: Place) -> None:
    found = await place.run("while :; do :; done", limits=replace(LIMITS, cpu_seconds=1))
    assert found.exit_code == 137


async def test_a_command_that_says_what_bubblewrap_would_say_is_a_command(place: Place) -> None:
    found = await place.run("echo 'bwrap: no'; exit 1")
    assert (found.exit_code, found.output) == (1, "bwrap: no\n")


async def test_a_machine_without_bubblewrap_says_so(place: Place, tmp_path: Path) -> None:
    place.sandbox = BubblewrapSandbox(search_path=str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="bubblewrap is not installed"):
        await place.sandbox.check()
    with pytest.raises(SandboxUnavailable, match="bubblewrap is not installed"):
        await place.run("touch a")
    assert list(place.path.iterdir()) == []


async def test_a_loop_that_kills_its_own_processes_is_no_noise(
    place: Place, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    loop = "for i in $(seq 60); do for j in $(seq 20); do sleep 9 & done; kill -9 $(jobs -p); wait; done 2>/dev/null"
    for command in (f"{loop}; echo over", f"{loop}; sleep 9 & kill -9 -1; sleep 9"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = await place.run(command)
            gc.collect()
        assert (found.exit_code, found.limit) in {(0, None), (137, None)}
    assert [record.getMessage() for record in caplog.records] == []
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
