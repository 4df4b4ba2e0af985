"""The Docker sandbox against a stand-in for ``docker`` that records what it is asked and plays an engine."""

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from app.config import load_config
from app.services.sandbox.base import SandboxUnavailable
from app.services.sandbox.docker import DockerSandbox
from app.services.sandbox.identity import sandbox_uid
from app.services.sandbox.script import ENVIRONMENT, SCRIPT
from app.services.sandbox.shell import Shell, build_sandbox, command_limits
from tests.support.sandboxes import LIMITS, MEBIBYTE, Place, until_gone, until_there

IMAGE = "example/tools:1"
# Records its arguments, with separators that none of them has, and its environment.
# ``run`` runs what stands behind the image, as an engine would.
CLIENT = r"""#!/bin/bash
{ printf '%s\x1f' "$@"; printf '\x1e'; } >> "$HOME/calls"
env > "$HOME/environment"
case "$1" in
  version) [ -e "$HOME/down" ] && { echo 'Cannot connect to the Docker daemon' >&2; exit 1; }; echo 28.2.2 ;;
  image) [ -e "$HOME/no-image" ] && { echo 'Error: No such image' >&2; exit 1; }; echo sha256:1 ;;
  ps) [ ! -e "$HOME/containers" ] || cat "$HOME/containers" ;;
  rm) ;;
  run)
    [ -e "$HOME/down" ] && { echo 'docker: Cannot connect to the Docker daemon' >&2; exit 125; }
    for argument in "$@"; do case "$argument" in type=bind,source=*) source=${argument#type=bind,source=} ;; esac; done
    cd "${source%,target=*}" || exit 125
    while [ "$1" != example/tools:1 ]; do shift; done
    # The command is the last argument; the script's paths exist in a container only.
    exec bash -c "${@: -1}"
    ;;
esac
"""


class Engine:
    """What the stand-in was asked."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        client = home / "docker"
        client.write_text(CLIENT)
        client.chmod(0o755)
        self.environment = {
            "PATH": f"{home}:{os.environ['PATH']}",
            "HOME": str(home),
            "DOCKER_HOST": "unix:///run/engine.sock",
            "PARLEY_SECRET_KEY": "never to be seen",
        }

    def calls(self) -> list[list[str]]:
        """The arguments of each call."""
        calls = (self.home / "calls").read_text().split("\x1e")[:-1]
        return [call.split("\x1f")[:-1] for call in calls]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path / "engine")


@pytest.fixture
def place(tmp_path: Path, engine: Engine) -> Place:
    """A workspace in the Docker sandbox."""
    path = tmp_path / "workspace"
    path.mkdir(mode=0o700)
    return Place(DockerSandbox(IMAGE, tmp_path / "data", engine.environment), path)


async def test_the_engine_is_asked_for_a_container_that_holds_nothing_but_the_workspace(
    place: Place, engine: Engine
) -> None:
    uid = sandbox_uid(place.conversation_id) or os.geteuid()
    found = await place.run("echo hello; exit 3", limits=replace(LIMITS, wall_seconds=30))
    assert (found.exit_code, found.output, found.limit) == (3, "hello\n", None)
    [call] = engine.calls()
    name = call[call.index("--name") + 1]
    label = call[call.index("--label") + 1]
    assert name.startswith("parley-")
    assert label.startswith("parley.server=")
    environment = [part for key, value in ENVIRONMENT.items() for part in ("--env", f"{key}={value}")]
    assert call == [
        *("run", "--rm", "--init", "--pull", "never", "--name", name, "--label", label),
        *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--user", f"{uid}:{uid}", "--hostname", "sandbox", "--log-driver", "none"),
        *("--memory", str(256 * MEBIBYTE), "--memory-swap", str(256 * MEBIBYTE)),
        *("--pids-limit", "64", "--oom-score-adj", "1000", "--cpu-shares", "128"),
        *("--ulimit", "cpu=20", "--ulimit", f"fsize={64 * MEBIBYTE}", "--ulimit", "nofile=1024", "--ulimit", "core=0"),
        *("--tmpfs", f"/tmp:rw,nosuid,nodev,exec,mode=1777,size={128 * MEBIBYTE}"),
        *("--mount", f"type=bind,source={place.path},target=/workspace", "--workdir", "/workspace"),
        *environment,
        *("--entrypoint", "", IMAGE),
        *("timeout", "--signal=KILL", "35", "/bin/bash", "-c", SCRIPT, "bash", "/workspace", "echo hello; exit 3"),
    ]


async def test_the_client_is_given_nothing_of_the_servers_environment(place: Place, engine: Engine) -> None:
    await place.run("true")
    told = (engine.home / "environment").read_text()
    assert "DOCKER_HOST=unix:///run/engine.sock" in told
    assert "PARLEY" not in told
    assert "never to be seen" not in told


async def test_a_command_that_meets_a_limit_has_its_container_removed(place: Place, engine: Engine) -> None:
    found = await place.run("exec sleep 1000", limits=replace(LIMITS, wall_seconds=0.5))
    assert (found.exit_code, found.limit) == (137, "it took longer than 0.5 s")
    run, removal = engine.calls()
    assert removal == ["rm", "--force", "--volumes", run[run.index("--name") + 1]]


async def test_a_workspace_that_grows_too_large_ends_the_command(place: Place) -> None:
    found = await place.run("head -c 40M /dev/zero > big; exec sleep 1000")
    assert found.limit == "the workspace is larger than 32 MiB"


async def test_a_cancelled_command_has_its_container_removed(place: Place, engine: Engine) -> None:
    mark = uuid4().hex
    running = asyncio.create_task(place.run(f"exec -a {mark} sleep 1000"))
    await until_there(mark)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until_gone(mark)
    run, removal = engine.calls()
    assert removal == ["rm", "--force", "--volumes", run[run.index("--name") + 1]]


async def test_what_an_earlier_process_left_is_swept(place: Place, engine: Engine) -> None:
    await place.sandbox.sweep()
    [listing] = engine.calls()
    own = listing[-1]
    assert listing == ["ps", "--all", "--quiet", "--filter", own]
    assert own.startswith("label=parley.server=")
    (engine.home / "containers").write_text("abc\ndef\n")
    await place.sandbox.sweep()
    assert engine.calls()[-1] == ["rm", "--force", "--volumes", "abc", "def"]


async def test_servers_with_other_data_have_other_containers(tmp_path: Path, engine: Engine) -> None:
    for name in ("one", "two"):
        await DockerSandbox(IMAGE, tmp_path / name, engine.environment).sweep()
    first, second = engine.calls()
    assert first[-1] != second[-1]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("down", "the Docker engine does not answer: Cannot connect to the Docker daemon."),
        ("no-image", "there is no image example/tools:1 (docker pull): Error: No such image."),
    ],
)
async def test_an_engine_that_can_not_be_used_says_why(place: Place, engine: Engine, state: str, said: str) -> None:
    await place.sandbox.check()
    (engine.home / state).touch()
    with pytest.raises(SandboxUnavailable) as raised:
        await place.sandbox.check()
    assert str(raised.value) == said
    shell = Shell(place.sandbox, LIMITS)
    await shell.start()
    assert shell.sandbox is None
    assert shell.describe() == f"Agents have no shell: {said}"


async def test_an_engine_that_goes_away_is_no_failure_of_the_command(place: Place, engine: Engine) -> None:
    (engine.home / "down").touch()
    with pytest.raises(SandboxUnavailable, match="does not answer"):
        await place.run("true")
    (engine.home / "down").unlink()
    found = await place.run("echo 'docker: no'; exit 125")
    assert (found.exit_code, found.output) == (125, "docker: no\n")


async def test_without_the_program_there_is_no_sandbox(tmp_path: Path) -> None:
    sandbox = DockerSandbox(IMAGE, tmp_path, {"PATH": str(tmp_path)})
    with pytest.raises(SandboxUnavailable, match="the program docker is not installed"):
        await sandbox.check()


async def test_a_path_that_docker_would_misread_is_refused(place: Place, tmp_path: Path, engine: Engine) -> None:
    place.path = tmp_path / "a,readonly"
    place.path.mkdir()
    with pytest.raises(SandboxUnavailable, match="comma"):
        await place.run("true")
    assert not (engine.home / "calls").exists()


async def test_the_configuration_chooses_the_sandbox(tmp_path: Path) -> None:
    chosen = {
        kind: build_sandbox(load_config(env_file=None, data_dir=tmp_path, sandbox=kind))
        for kind in ("bubblewrap", "docker", "none")
    }
    assert {kind: sandbox and sandbox.name for kind, sandbox in chosen.items()} == {
        "bubblewrap": "bubblewrap",
        "docker": "docker",
        "none": None,
    }
    config = load_config(env_file=None, data_dir=tmp_path)
    limits = command_limits(config)
    assert (limits.wall_seconds, limits.memory_bytes, limits.processes) == (120.0, 2 * 1024**3, 256)
    shell = Shell(chosen["none"], limits)
    await shell.start()
    assert shell.describe() == "Agents have no shell: the operator has turned it off (PARLEY_SANDBOX=none)."


@pytest.mark.skipif(
    shutil.which("docker") is None or Path("/var/run/docker.sock").exists(), reason="needs docker without an engine"
)
async def test_the_real_client_without_an_engine_says_so(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    with pytest.raises(SandboxUnavailable, match="the Docker engine does not answer"):
        await DockerSandbox(IMAGE, tmp_path, environment).check()
