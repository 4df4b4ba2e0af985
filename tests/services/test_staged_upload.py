"""Uploads that no message has named: their limits, their time, and what is removed when."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from app.errors import InvalidInput
from app.services.attachment import describe
from app.services.staged_upload import MAX_TOTAL_BYTES, MAX_UPLOADS, StagedUploads

HOUR = 3600


class MovedClock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "staged"


@pytest.fixture
def staged(root: Path, clock: MovedClock) -> StagedUploads:
    return StagedUploads(root, clock)


def upload(staged: StagedUploads, owner_id: str, content: bytes = b"a", path: str = "uploads/a") -> str:
    """Receive a file, and return its id."""
    upload_id = uuid4().hex
    file = staged.begin(owner_id, upload_id, path)
    file.write(content)
    file.finish()
    file.close()
    return upload_id


def directories(root: Path) -> list[Path]:
    """The directories of all uploads, and of owners."""
    return [path for path in root.rglob("*") if path.is_dir()]


def test_an_upload_is_its_owners_alone(staged: StagedUploads) -> None:
    upload_id = upload(staged, "ada", b"\x89PNG\r\n\x1a\n", "uploads/größe.bin")
    mine = staged.get("ada", upload_id)
    assert mine is not None
    attachment = mine.attachment
    assert (attachment.name, attachment.media_type, attachment.size) == ("größe.bin", "image/png", 8)
    assert attachment.digest == hashlib.sha256(b"\x89PNG\r\n\x1a\n").hexdigest()
    assert [found.attachment for found in staged.get_all("ada")] == [attachment]
    assert staged.get("eve", upload_id) is None
    assert staged.get_all("eve") == []


@pytest.mark.parametrize(
    "malformed", ["", ".", "..", "../x", "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n", "\ud800", "\x00"]
)
def test_a_malformed_id_is_that_of_no_upload(staged: StagedUploads, malformed: str) -> None:
    upload(staged, "ada")
    assert staged.get("ada", malformed) is None


def test_an_owner_of_any_name_has_a_directory_within(staged: StagedUploads, root: Path) -> None:
    for owner_id in ("../../x", "/etc", "a" * 5000, "\ud800", "\x00", ""):
        assert staged.get(owner_id, upload(staged, owner_id)) is not None
    assert len(list(root.iterdir())) == 6
    assert [path.name for path in root.parent.iterdir()] == ["staged"]


def test_what_is_not_complete_is_not_there_and_leaves_nothing(staged: StagedUploads, root: Path) -> None:
    upload_id = uuid4().hex
    file = staged.begin("ada", upload_id, "uploads/a")
    file.write(b"abc")
    assert staged.get("ada", upload_id) is None
    file.close()
    assert staged.get("ada", upload_id) is None
    assert [path for path in root.rglob("*") if path.name == upload_id] == []


@pytest.mark.parametrize("about", [b"", b"{", b"[]", b"5", b'{"name": "a"}', b"\xff"])
def test_a_description_that_a_crash_cut_off_is_none(staged: StagedUploads, root: Path, about: bytes) -> None:
    upload_id = upload(staged, "ada")
    [path] = root.rglob("about.json")
    path.write_bytes(about)
    assert staged.get("ada", upload_id) is None


def test_the_number_of_an_owners_uploads_has_a_limit(staged: StagedUploads) -> None:
    with staged.reserve("ada", 1):
        for _ in range(MAX_UPLOADS - 2):
            upload(staged, "ada")
        staged.check_room("ada", 1)
        with staged.reserve("ada", 1):
            staged.check_room("ada", 1, counted=1)
            with pytest.raises(InvalidInput, match="at most 100 uploads"):
                staged.check_room("ada", 0)
    staged.check_room("ada", 1)
    for _ in range(2):
        upload(staged, "ada")
    with pytest.raises(InvalidInput, match="at most 100 uploads"):
        staged.check_room("ada", 0)
    staged.check_room("eve", 1)


def test_the_bytes_of_an_owners_uploads_have_a_limit(staged: StagedUploads, root: Path) -> None:
    upload_id = upload(staged, "ada")
    [directory] = root.rglob(upload_id)
    # As if it were as large as half of what is allowed.
    describe(directory, "uploads/a", MAX_TOTAL_BYTES // 2, "0" * 64, b"")
    staged.check_room("ada", MAX_TOTAL_BYTES // 2)
    with pytest.raises(InvalidInput, match="bytes"):
        staged.check_room("ada", MAX_TOTAL_BYTES // 2 + 1)
    with staged.reserve("ada", MAX_TOTAL_BYTES // 2):
        staged.check_room("ada", MAX_TOTAL_BYTES // 2, counted=1)
        with pytest.raises(InvalidInput, match="bytes"):
            staged.check_room("ada", 1)
    staged.check_room("ada", 1)
    staged.check_room("eve", MAX_TOTAL_BYTES)


def test_an_upload_is_over_after_a_day_and_is_removed(staged: StagedUploads, clock: MovedClock, root: Path) -> None:
    old = upload(staged, "ada")
    clock.ahead = timedelta(hours=23)
    assert staged.get("ada", old) is not None
    clock.ahead = timedelta(hours=24, seconds=1)
    assert staged.get("ada", old) is None
    assert staged.get_all("ada") == []
    staged.check_room("ada", MAX_TOTAL_BYTES)
    for _ in range(3):
        staged.sweep(10)
    assert directories(root) == []
    assert root.is_dir()


def test_uploads_are_removed_in_bounded_batches_and_young_ones_stay(
    staged: StagedUploads, clock: MovedClock, root: Path
) -> None:
    for number in range(30):
        upload(staged, f"owner-{number % 10}")
    clock.ahead = timedelta(hours=25)
    young = upload(staged, "owner-3")
    moved_on = datetime.now(UTC).timestamp() + 25 * HOUR
    [directory] = root.rglob(young)
    os.utime(directory, (moved_on, moved_on))
    counts = [len(directories(root))]
    for _ in range(20):
        staged.sweep(7)
        counts.append(len(directories(root)))
    # A batch of seven looks at so many uploads and owners.
    assert max(before - after for before, after in pairwise(counts)) <= 7 + 7
    assert counts[0] == 10 + 31
    assert counts[-1] == 2
    assert staged.get("owner-3", young) is not None


def test_a_file_beside_the_directories_holds_nothing_up(staged: StagedUploads, clock: MovedClock, root: Path) -> None:
    upload(staged, "ada")
    (root / "lost+found").write_text("")
    (next(path for path in root.iterdir() if path.is_dir()) / "file").write_text("")
    clock.ahead = timedelta(hours=25)
    for _ in range(4):
        staged.sweep(10)
    assert [path.name for path in directories(root) if len(path.name) == 32] == []
