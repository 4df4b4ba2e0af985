"""Lines and pages of what an agent left in its workspace."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.filesystem.excerpt import Excerpt
from app.services.filesystem.files import Entry, WorkspaceFiles
from app.services.filesystem.path_walk import AbsentPath, WorkspacePathError


@given(
    content=st.text("ab\n", max_size=60).map(str.encode),
    first=st.integers(1, 12),
    length=st.none() | st.integers(0, 12),
    max_bytes=st.integers(1, 60),
)
def test_lines_are_those_that_python_reads(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, first: int, length: int | None, max_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.mkdir(exist_ok=True)
    (path / "file").write_bytes(content)
    last = first + length if length is not None else None
    wanted = b"".join(content.splitlines(keepends=True)[first - 1 : last])

    found = WorkspaceFiles(path, None).lines("file", first, last, max_bytes=max_bytes, max_scanned=1000)

    assert found == Excerpt(wanted[:max_bytes], is_cut=len(wanted) > max_bytes)


def test_lines_are_looked_for_within_bounds(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    files = WorkspaceFiles(tmp_path, None)
    assert files.lines("huge", 2, None, max_bytes=10, max_scanned=2**20) == Excerpt(b"", is_cut=True)
    assert files.head("huge", 3) == b"\x00\x00\x00"


def test_ten_thousand_names_come_in_pages_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    names = sorted(f"{number}" for number in range(10_000))
    for name in names:
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "00pipe")
    files = WorkspaceFiles(tmp_path, None)
    found: list[str] = []
    after: str | None = None
    while True:
        page = files.page("/workspace", after, 3000)
        found += [entry.name for entry in page.entries]
        if not page.is_cut:
            break
        after = found[-1]
    assert found == names


def test_a_directory_without_end_is_refused(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / name).touch()
    with pytest.raises(WorkspacePathError, match="holds more than 3 names"):
        WorkspaceFiles(tmp_path, None).page(".", None, 1, max_names=3)


def test_what_is_there_is_told_without_following_it_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "file").write_text("text")
    (root / "inner").symlink_to("d/file")
    (root / "outer").symlink_to("../secret")
    (tmp_path / "secret").write_text("secret")
    files = WorkspaceFiles(root, None)
    assert files.page(".", None, 9).entries == [
        Entry("d", "directory", 0),
        Entry("inner", "link", 0, "d/file"),
        Entry("outer", "link", 0, "../secret"),
    ]
    assert files.look("inner") == Entry("file", "file", 4)
    with pytest.raises(WorkspacePathError, match="leads out of the workspace"):
        files.look("outer")
    with pytest.raises(AbsentPath):
        files.look("none/at/all")
