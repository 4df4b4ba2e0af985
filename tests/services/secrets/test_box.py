"""Secrets at rest: what is sealed opens only with its key and in its place, and keys can be rotated."""

import base64
import multiprocessing
import stat
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.config import Config, ConfigError, load_config
from app.services.secrets.box import KEY_FILE_NAME, SecretBox, SecretUnreadable, open_secret_box, prepare_data_dir

OLD = SecretStr("the old key has more than 32 characters")
NEW = SecretStr("the new key has more than 32 characters")
API_KEY = SecretStr("sk-0123456789")
CONTEXT = "settings:ada:llm_api_key"


def config(data_dir: Path, secret_key: str | None = None) -> Config:
    return load_config(
        env_file=None, data_dir=data_dir, secret_key=None if secret_key is None else SecretStr(secret_key)
    )


@pytest.mark.parametrize("value", ["sk-0123456789", "", "Zoë 名 \n", "a" * 100_000])
def test_a_sealed_secret_opens_in_its_place(value: str) -> None:
    box = SecretBox([OLD])
    sealed = box.encrypt(SecretStr(value), context=CONTEXT)
    assert sealed.isascii()
    assert box.decrypt(sealed, context=CONTEXT).get_secret_value() == value


def test_nothing_of_the_secret_shows() -> None:
    box = SecretBox([OLD])
    sealed = box.encrypt(API_KEY, context=CONTEXT)
    assert "0123456789" not in sealed + repr(box) + repr(vars(box)) + repr(box.decrypt(sealed, context=CONTEXT))
    assert OLD.get_secret_value() not in repr(vars(box))


def test_the_same_secret_never_looks_the_same() -> None:
    box = SecretBox([OLD])
    assert len({box.encrypt(API_KEY, context=CONTEXT) for _ in range(100)}) == 100


def test_a_sealed_secret_does_not_open_in_another_place() -> None:
    box = SecretBox([OLD])
    sealed = box.encrypt(API_KEY, context="settings:ada:llm_api_key")
    for context in ("settings:eve:llm_api_key", "settings:ada:git_token", ""):
        with pytest.raises(SecretUnreadable, match=r"^The secret does not decrypt: it was changed, or moved"):
            box.decrypt(sealed, context=context)


def test_a_changed_secret_does_not_open() -> None:
    box = SecretBox([OLD, NEW])
    sealed = box.encrypt(API_KEY, context=CONTEXT)
    head, _, payload = sealed.rpartition(".")
    content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        with pytest.raises(SecretUnreadable):
            box.decrypt(f"{head}.{base64.urlsafe_b64encode(changed).decode().rstrip('=')}", context=CONTEXT)
    # The key id is bound as well: another configured one does not pass.
    other = SecretBox([NEW]).encrypt(API_KEY, context=CONTEXT).split(".")[1]
    with pytest.raises(SecretUnreadable, match=r"^The secret does not decrypt"):
        box.decrypt(f"v1.{other}.{payload}", context=CONTEXT)


@pytest.mark.parametrize(
    "token", ["", "v1", "v1.", "v1..", "v1.a.", "v1.a.b", "v2.0123456789abcdef.AAAA", "sk-0123", "v1.a.é", "\0"]
)
def test_what_was_never_sealed_is_unreadable(token: str) -> None:
    box = SecretBox([OLD])
    for use in (lambda: box.decrypt(token, context=CONTEXT), lambda: box.needs_rotation(token)):
        with pytest.raises(SecretUnreadable, match=r"^This is not a secret that Parley encrypted\.$"):
            use()


def test_a_removed_key_is_named_by_its_id() -> None:
    sealed = SecretBox([OLD]).encrypt(API_KEY, context=CONTEXT)
    key_id = sealed.split(".")[1]
    with pytest.raises(
        SecretUnreadable, match=f"^The secret was encrypted with key {key_id}, which is no longer among"
    ):
        SecretBox([NEW]).decrypt(sealed, context=CONTEXT)


@pytest.mark.parametrize("keys", [[], [SecretStr("a" * 31)], [OLD, SecretStr("")]])
def test_a_box_needs_proper_keys(keys: list[SecretStr]) -> None:
    with pytest.raises(ValueError, match="32 characters"):
        SecretBox(keys)


# Rotation


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    sealed = SecretBox([OLD]).encrypt(API_KEY, context=CONTEXT)
    both = SecretBox([NEW, OLD])
    assert both.decrypt(sealed, context=CONTEXT) == API_KEY
    assert SecretBox([NEW]).decrypt(both.encrypt(API_KEY, context=CONTEXT), context=CONTEXT) == API_KEY


def test_a_rotated_secret_outlives_the_old_key() -> None:
    sealed = SecretBox([OLD]).encrypt(API_KEY, context=CONTEXT)
    both = SecretBox([NEW, OLD])
    assert both.needs_rotation(sealed)
    rotated = both.rotate(sealed, context=CONTEXT)
    assert not both.needs_rotation(rotated)
    assert SecretBox([NEW]).decrypt(rotated, context=CONTEXT) == API_KEY


def test_a_secret_of_the_first_key_stays_as_it_is() -> None:
    both = SecretBox([NEW, OLD])
    sealed = both.encrypt(API_KEY, context=CONTEXT)
    assert both.rotate(sealed, context=CONTEXT) == sealed


def test_rotation_does_not_move_a_secret() -> None:
    sealed = SecretBox([OLD]).encrypt(API_KEY, context=CONTEXT)
    with pytest.raises(SecretUnreadable):
        SecretBox([NEW, OLD]).rotate(sealed, context="settings:eve:llm_api_key")


# Configured keys and the key file


def test_configured_keys_are_used_and_no_file_is_made(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    box = open_secret_box(config(data_dir, f"{NEW.get_secret_value()}, {OLD.get_secret_value()}"))
    assert not data_dir.exists()
    assert SecretBox([NEW]).decrypt(box.encrypt(API_KEY, context=CONTEXT), context=CONTEXT) == API_KEY
    assert box.decrypt(SecretBox([OLD]).encrypt(API_KEY, context=CONTEXT), context=CONTEXT) == API_KEY


def test_a_key_is_generated_once_for_its_owner_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    sealed = open_secret_box(config(data_dir)).encrypt(API_KEY, context=CONTEXT)
    file = data_dir / KEY_FILE_NAME
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text()) == 65
    assert open_secret_box(config(data_dir)).decrypt(sealed, context=CONTEXT) == API_KEY
    assert list(data_dir.iterdir()) == [file]


def test_a_generated_key_can_become_a_configured_one(tmp_path: Path) -> None:
    sealed = open_secret_box(config(tmp_path)).encrypt(API_KEY, context=CONTEXT)
    generated = (tmp_path / KEY_FILE_NAME).read_text()
    box = open_secret_box(config(tmp_path, "n" * 32 + "," + generated))
    assert box.needs_rotation(sealed)
    assert box.decrypt(sealed, context=CONTEXT) == API_KEY


def test_a_key_file_may_hold_several_keys(tmp_path: Path) -> None:
    sealed = open_secret_box(config(tmp_path)).encrypt(API_KEY, context=CONTEXT)
    file = tmp_path / KEY_FILE_NAME
    file.write_text("n" * 32 + "\n" + file.read_text())
    box = open_secret_box(config(tmp_path))
    assert box.needs_rotation(sealed)
    assert box.decrypt(sealed, context=CONTEXT) == API_KEY


def _start(barrier: Barrier, data_dir: Path, results: "multiprocessing.Queue[str]") -> None:
    barrier.wait(timeout=30)
    results.put(open_secret_box(config(data_dir)).encrypt(API_KEY, context=CONTEXT))


def test_processes_that_start_together_agree_on_the_key(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    for attempt in range(5):
        data_dir = tmp_path / str(attempt)
        barrier, results = fork.Barrier(4), fork.Queue()
        processes = [fork.Process(target=_start, args=(barrier, data_dir, results)) for _ in range(4)]
        for process in processes:
            process.start()
        sealed = [results.get(timeout=30) for _ in processes]
        for process in processes:
            process.join(timeout=30)
        box = open_secret_box(config(data_dir))
        assert [box.decrypt(token, context=CONTEXT) for token in sealed] == [API_KEY] * 4
        assert [path.name for path in data_dir.iterdir()] == [KEY_FILE_NAME]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_key_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    open_secret_box(config(tmp_path))
    file = tmp_path / KEY_FILE_NAME
    file.chmod(mode)
    with pytest.raises(ConfigError) as refused:
        open_secret_box(config(tmp_path))
    assert str(refused.value) == f"{file} can be used by other users (mode {mode:04o}). Run: chmod 600 {file}"


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n", b"\xff" * 40, b"a" * 70_000, b"a" * 40 + b"\nshort\n"])
def test_a_key_file_without_a_proper_key_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / KEY_FILE_NAME
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        open_secret_box(config(tmp_path))
    assert str(refused.value) == f"{file} holds no proper key: each line needs at least 32 characters."
    assert file.read_bytes() == content


def test_a_data_directory_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^PARLEY_DATA_DIR: .* can't be made \((File exists|Not a directory)\)\.$"):
        open_secret_box(config(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"^PARLEY_DATA_DIR: "):
        prepare_data_dir(tmp_path / "file" / "data")


def test_a_key_file_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE_NAME).mkdir()
    with pytest.raises(ConfigError, match=r"can't be made or read \(Is a directory\)\. Set PARLEY_SECRET_KEY"):
        open_secret_box(config(tmp_path))


def test_a_data_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    open_secret_box(config(tmp_path))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
