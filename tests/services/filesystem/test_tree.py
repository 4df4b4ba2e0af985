"""Workspaces are removed whatever a command made in them, in a time that grows with it alone."""

import os
import sys
from pathlib import Path

import pytest

from app.services.filesystem.tree import remove_tree

DEPTH = 3000
OPERATIONS = ("open", "os.")


class Recorder:
    """Counts what is asked of the file system, and the names that it is asked by."""

    def __init__(self) -> None:
        self.is_on = False
        self.operations = 0
        self.longest = 0
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_on and event.startswith(OPERATIONS):
            self.operations += 1
            self.longest = max(self.longest, *(len(each) for each in arguments if isinstance(each, str)), 0)


def nest(root: Path, depth: int, *, mode: int = 0o700) -> Path:
    """Directories within each other, far deeper than a path may be long, with a file in each."""
    root.mkdir()
    opened = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("directory", dir_fd=opened)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=opened))
        inner = os.open("directory", os.O_RDONLY, dir_fd=opened)
        os.fchmod(opened, mode)
        os.close(opened)
        opened = inner
    os.close(opened)
    return root


def test_twice_the_depth_takes_twice_the_operations(tmp_path: Path) -> None:
    counts: list[int] = []
    recorder = Recorder()
    for depth in (DEPTH, 2 * DEPTH):
        root = nest(tmp_path / "workspace", depth)
        recorder.operations = 0
        recorder.is_on = True
        remove_tree(root)
        recorder.is_on = False
        assert not root.exists()
        counts.append(recorder.operations)
    assert counts[1] <= 2 * counts[0]
    assert counts[0] <= 8 * DEPTH
    # Each by one name: a path of all of them would be resolved again for each.
    assert recorder.longest <= len(str(tmp_path / "workspace"))


def test_directories_that_are_closed_and_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    root = nest(tmp_path / "workspace", 10, mode=0)
    root.chmod(0o700)
    (root / "link").symlink_to(outside)
    os.mkfifo(root / "pipe")
    for number in range(20):
        (root / f"wide{number}").mkdir()
        (root / f"wide{number}" / "up").symlink_to("..")
    root.chmod(0)
    remove_tree(root)
    assert not root.exists()
    assert (outside / "file").read_text() == "kept"
    remove_tree(root)


@pytest.mark.parametrize("is_link", [True, False])
def test_what_is_no_directory_is_not_removed(tmp_path: Path, is_link: bool) -> None:
    root = tmp_path / "workspace"
    if is_link:
        root.symlink_to(tmp_path)
    else:
        root.touch()
    with pytest.raises(OSError, match="workspace"):
        remove_tree(root)
    assert os.path.lexists(root)
