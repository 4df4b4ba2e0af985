"""The users and the kernel's keys of sandboxes: each conversation has its own, and no key of the server's."""

import asyncio
import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from app.services.sandbox.identity import FIRST_UID, sandbox_uid
from app.services.sandbox.seccomp import refuse_keys
from tests.support.paths import ROOT
from tests.support.sandboxes import Place, needs_sandbox

pytestmark = needs_sandbox


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives conversations users of their own")
async def test_every_conversation_has_a_user_of_its_own(place: Place, tmp_path: Path) -> None:
    other = Place(place.sandbox, tmp_path / "other")
    other.path.mkdir(mode=0o700)
    for each in (place, other):
        await each.run("touch mine")
        assert (each.path / "mine").stat().st_uid == sandbox_uid(each.conversation_id)
    first, second = sandbox_uid(place.conversation_id), sandbox_uid(other.conversation_id)
    assert first is not None
    assert second is not None
    assert first != second
    assert min(first, second) >= FIRST_UID


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands files over")
async def test_files_that_the_server_wrote_are_handed_over(place: Place, tmp_path: Path) -> None:
    await place.run("true")
    outside = tmp_path / "outside"
    outside.touch()
    (place.path / "cloned" / "src").mkdir(parents=True)
    (place.path / "cloned" / "src" / "a.py").write_text("1\n")
    (place.path / "cloned" / "link").symlink_to(outside)
    await place.sandbox.adopt(place.conversation_id, place.path)
    assert (await place.run("echo 2 >> cloned/src/a.py && cat cloned/src/a.py")).output == "1\n2\n"
    assert outside.stat().st_uid == 0


USER_SCRIPT = """
import asyncio, sys
from pathlib import Path
from uuid import uuid4
from app.services.filesystem.files import WorkspaceFiles
from app.services.sandbox.bubblewrap import CHECK_LIMITS, BubblewrapSandbox

async def main():
    sandbox, workspace = BubblewrapSandbox(), Path(sys.argv[1])
    await sandbox.check()
    command = "echo hi > a; cat a; ls /home 2>&1"
    found = await sandbox.run(uuid4(), workspace, command, directory="/", limits=CHECK_LIMITS)
    print(found.exit_code, found.output)
    await sandbox.run(uuid4(), workspace, "chmod 000 .", directory="/", limits=CHECK_LIMITS)
    print([entry.name for entry in WorkspaceFiles(workspace, None).list(".", 10).entries])

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user_needs_no_right_to_run_a_sandbox(tmp_path_factory: pytest.TempPathFactory) -> None:
    as_user = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", "--"]
    # The modules of the sandbox need the standard library alone.
    probe = "import sys; assert sys.version_info >= (3, 11); import app.services.sandbox.bubblewrap"
    if subprocess.run(
        [*as_user, "/usr/bin/python3", "-c", probe], cwd=ROOT, check=False, capture_output=True
    ).returncode:
        pytest.skip("another user can't read this directory, or has no Python 3.11")
    workspace = Path(
        subprocess.run([*as_user, "mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip()
    )
    try:
        ran = subprocess.run(
            [*as_user, "/usr/bin/python3", "-c", USER_SCRIPT, str(workspace)],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert ran.stdout.startswith("2 hi\nls: cannot access '/home'"), ran.stderr
        assert "['.parley', 'a']" in ran.stdout, ran.stderr
        assert (workspace / "a").stat().st_uid == 54321
    finally:
        subprocess.run(["rm", "-rf", str(workspace)], check=True)


# The numbers of add_key, request_key and keyctl.
KEY_CALLS = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219), "riscv64": (217, 218, 219)}
ASK_FOR_A_KEY = """\
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    found = libc.syscall(*arguments)
    return errno.errorcode[ctypes.get_errno()] if found < 0 else "found"
add_key, request_key, keyctl = {calls}
search, session = 10, -3
print(
    call(keyctl, search, session, b"user", b"{name}", 0),
    call(request_key, b"user", b"{name}", None, 0),
    call(add_key, b"user", b"{name}-2", b"x", 1, session),
    call(keyctl, 1, None),
)
"""


@pytest.mark.skipif(platform.machine() not in KEY_CALLS, reason="no filter is known for this machine")
async def test_no_command_reaches_a_key_of_its_server_or_of_another_command(place: Place) -> None:
    calls = KEY_CALLS[platform.machine()]
    name = f"parley-test-{uuid4()}"
    libc = ctypes.CDLL(None, use_errno=True)
    key = libc.syscall(calls[0], b"user", name.encode(), b"secret", 6, -3)
    assert key > 0
    try:
        program = ASK_FOR_A_KEY.format(calls=calls, name=name)
        # A process outside gets the key from its parent's keyring.
        outside = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
        answer, _ = await outside.communicate()
        assert answer == b"found found found found\n"
        for _ in range(2):
            found = await place.run(f"python3 - <<'END'\n{program}END")
            assert found.output == "ENOSYS ENOSYS ENOSYS ENOSYS\n"
        found = await place.run("cat /proc/keys /proc/key-users 2>&1; grep Seccomp: /proc/self/status")
        assert name not in found.output
        assert found.output.splitlines() == [
            "cat: /proc/keys: Permission denied",
            "cat: /proc/key-users: Permission denied",
            "Seccomp:\t2",
        ]
    finally:
        # KEYCTL_UNLINK
        libc.syscall(calls[2], 9, key, -3)


async def test_the_filter_covers_every_numbering_that_the_machine_runs(place: Place) -> None:
    # x86-64 runs programs of x32, whose numbers have bit 30 set, as well.
    calls = KEY_CALLS.get(platform.machine(), ())
    program = f"import ctypes; print([ctypes.CDLL(None).syscall(n | 1 << 30, 1, None) for n in {list(calls)}])"
    found = await place.run(f"python3 -c '{program}'")
    assert found.output == f"{[-1] * len(calls)}\n"
    lengths = [len(refuse_keys(machine) or b"") for machine in ("x86_64", "aarch64", "riscv64", "m68k")]
    assert lengths == [8 * 18, 8 * 18, 8 * 10, 0]
