"""Archives of a workspace that changes while it is read."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.filesystem.archive import tar_pieces, zip_name, zip_pieces
from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.members import MAX_DEPTH, Member, MemberBounds, TooLarge, count, members, outermost
from app.services.filesystem.path_walk import WorkspacePathError

MEBIBYTE = 1024 * 1024
Write = Callable[[Generator[Member]], Generator[bytes]]


def bounds(entries: int = 1000, size: int = 64 * MEBIBYTE) -> MemberBounds:
    return MemberBounds(entries, size)


def found(path: Path, *paths: str) -> Generator[Member]:
    return members(WorkspaceFiles(path, None), paths, bounds())


def opened_by_this_process() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_file_that_becomes_shorter_is_filled_up_in_a_tar_and_shorter_in_a_zip(tmp_path: Path) -> None:
    for write in (zip_pieces, tar_pieces):
        (tmp_path / "a").write_bytes(os.urandom(4 * MEBIBYTE))
        (tmp_path / "b").write_text("behind")
        pieces = write(found(tmp_path, "a", "b"))
        content = next(pieces)
        os.truncate(tmp_path / "a", MEBIBYTE)
        content += b"".join(pieces)
        if write is zip_pieces:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                assert archive.testzip() is None
                assert (len(archive.read("a")), archive.read("b")) == (MEBIBYTE, b"behind")
        else:
            with tarfile.open(fileobj=io.BytesIO(content)) as unpacked:
                whole, behind = (unpacked.extractfile(name) for name in ("a", "b"))
                assert whole is not None
                assert behind is not None
                a = whole.read()
                assert (len(a), a[MEBIBYTE:], behind.read()) == (4 * MEBIBYTE, bytes(3 * MEBIBYTE), b"behind")


@pytest.mark.parametrize("write", [zip_pieces, tar_pieces])
def test_a_file_that_grows_ends_where_it_did(tmp_path: Path, write: Write) -> None:
    (tmp_path / "a").write_bytes(os.urandom(2 * MEBIBYTE))
    pieces = write(found(tmp_path))
    content = next(pieces)
    with (tmp_path / "a").open("ab") as file:
        file.write(bytes(MEBIBYTE))
    content += b"".join(pieces)
    if content.startswith(b"PK"):
        assert len(zipfile.ZipFile(io.BytesIO(content)).read("a")) == 2 * MEBIBYTE
    else:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            assert archive.getmember("a").size == 2 * MEBIBYTE


def test_what_becomes_a_link_meanwhile_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "a").write_text("a")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    reading = found(root)
    assert next(reading).path == "d"
    # The directory that is open goes on to be read, wherever its name leads now.
    (root / "d").rename(tmp_path / "moved")
    (root / "d").symlink_to(tmp_path / "outside")
    assert [member.path for member in reading] == ["d/a"]
    assert [(member.path, member.target) for member in found(root)] == [("d", str(tmp_path / "outside"))]
    with pytest.raises(WorkspacePathError):
        list(found(root, "d/secret"))


def test_what_vanishes_meanwhile_is_left_out(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    reading = found(tmp_path)
    first = next(reading).path
    for name in {"a", "b", "c"} - {first}:
        (tmp_path / name / "file").unlink()
        (tmp_path / name).rmdir()
    assert [member.path for member in reading] == [f"{first}/file"]


@pytest.mark.parametrize("write", [zip_pieces, tar_pieces])
def test_an_archive_that_is_given_up_leaves_nothing_open(tmp_path: Path, write: Write) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "large").write_bytes(os.urandom(2 * MEBIBYTE))
    before = opened_by_this_process()
    pieces = write(found(tmp_path))
    next(pieces)
    assert opened_by_this_process() > before
    pieces.close()
    assert opened_by_this_process() == before


def test_bounds_are_those_of_entries_bytes_and_depth(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100))
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("a")
    files = WorkspaceFiles(tmp_path, None)
    count(files, [], MemberBounds(3, 100))
    with pytest.raises(TooLarge, match="more than 2 files"):
        count(files, [], MemberBounds(2, 100))
    with pytest.raises(TooLarge, match="larger than 99 bytes"):
        count(files, [], MemberBounds(3, 99))
    deep = tmp_path
    for _ in range(MAX_DEPTH):
        deep /= "x"
    deep.mkdir(parents=True)
    with pytest.raises(TooLarge, match="nested more than 40 deep"):
        count(files, [], bounds())


def test_a_workspace_of_any_size_takes_the_same_memory(tmp_path: Path) -> None:
    with (tmp_path / "hollow").open("wb") as file:
        file.truncate(64 * MEBIBYTE)
    for write in (zip_pieces, tar_pieces):
        assert max(len(piece) for piece in write(found(tmp_path))) < 256 * 1024


COMPONENTS = st.text(st.characters(blacklist_characters="/\x00"), min_size=1, max_size=8)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=3).map("/".join)


@given(st.lists(PATHS, max_size=6))
def test_of_paths_within_each_other_the_outer_ones_are_kept(paths: list[str]) -> None:
    kept = outermost(paths)
    for path in paths:
        assert sum(path == outer or path.startswith(f"{outer}/") for outer in kept) == 1
    assert set(kept) <= set(paths)


@given(st.binary(min_size=1, max_size=20).filter(lambda name: b"/" not in name and b"\x00" not in name))
def test_a_name_in_a_zip_is_printable_and_leads_nowhere_else(name: bytes) -> None:
    shown = zip_name(os.fsdecode(name))
    assert shown.isprintable()
    assert not set(shown) & {"\\", "/"}
    shown.encode()


def test_names_in_a_zip() -> None:
    assert zip_name("d/100% größe.txt") == "d/100% größe.txt"
    assert zip_name("d/..\\a%b") == "d/..%5Ca%25b"
    assert zip_name(os.fsdecode(b"\xff/a\nb")) == "%FF/a%0Ab"
