"""Encrypts API keys and tokens before they are stored in the database, and signs what clients carry for the server.

AES-256-GCM rather than Fernet, since it binds a ciphertext to its context: copied to another caller's row or column, it
can't be decrypted there. Each configured key goes through HKDF, so any text of enough entropy will do as a key.

An encrypted secret is ``v1.<key id>.<nonce, ciphertext and tag in URL-safe base64>``. The key id is derived from the
key by HKDF, reveals nothing about it, and tells which of several keys to use.
"""

import base64
import binascii
import hmac
import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from app.config import MIN_SECRET_KEY_CHARACTERS, Config, ConfigError, split_list

KEY_FILE_NAME = "secret.key"

_VERSION = "v1"
_NONCE_BYTES = 12
_KEY_ID_BYTES = 8
SIGNATURE_BYTES = 32
_MAX_KEY_FILE_BYTES = 64 * 1024


class SecretUnreadable(Exception):
    """A secret can't be decrypted: its key is not configured, or it was altered or moved. The message has no secret."""


class SecretBox:
    """Encrypts with the first key, decrypts with any. Safe to share between threads."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        """Raise ``ValueError`` unless there is at least one key, and each has 32 characters or more."""
        values = [key.get_secret_value() for key in keys]
        if not values or any(len(value) < MIN_SECRET_KEY_CHARACTERS for value in values):
            msg = f"at least one key is needed, and each needs {MIN_SECRET_KEY_CHARACTERS} characters"
            raise ValueError(msg)
        self._ciphers = {_derive(value, b"key id", _KEY_ID_BYTES).hex(): _cipher(value) for value in values}
        self._first = next(iter(self._ciphers))
        self._signing_keys = [_derive(value, b"signature", SIGNATURE_BYTES) for value in values]

    def encrypt(self, secret: SecretStr, *, context: str) -> str:
        """Encrypt for a context, such as ``settings:<owner>:llm_api_key``. The result is ASCII, 4/3 as long plus 58."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(
            nonce, secret.get_secret_value().encode(), _associated_data(self._first, context)
        )
        return f"{_VERSION}.{self._first}.{base64.urlsafe_b64encode(nonce + sealed).decode().rstrip('=')}"

    def decrypt(self, token: str, *, context: str) -> SecretStr:
        """Decrypt what was encrypted for the same ``context``. Raises ``SecretUnreadable``."""
        key_id, sealed = _split(token)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            msg = f"The secret was encrypted with key {key_id}, which is no longer among the configured ones."
            raise SecretUnreadable(msg)
        try:
            opened = cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _associated_data(key_id, context))
        except InvalidTag:
            msg = "The secret does not decrypt: it was changed, or moved from another place."
            raise SecretUnreadable(msg) from None
        return SecretStr(opened.decode())

    def needs_rotation(self, token: str) -> bool:
        """Tell whether it was encrypted with another key than the first. Raises ``SecretUnreadable`` if malformed."""
        return _split(token)[0] != self._first

    def rotate(self, token: str, *, context: str) -> str:
        """Encrypt again with the first key, unless it was encrypted with it. Raises ``SecretUnreadable``."""
        if not self.needs_rotation(token):
            return token
        return self.encrypt(self.decrypt(token, context=context), context=context)

    def sign(self, message: bytes, *, purpose: str) -> bytes:
        """Return an HMAC-SHA256 by the first key, which ``is_signed`` accepts for the same purpose only."""
        return _signature(self._signing_keys[0], message, purpose)

    def is_signed(self, message: bytes, signature: bytes, *, purpose: str) -> bool:
        """Tell whether one of the keys made the signature."""
        return any(hmac.compare_digest(_signature(key, message, purpose), signature) for key in self._signing_keys)


def open_secret_box(config: Config) -> SecretBox:
    """Build the box from the configured keys, else from the data directory's key file, which is created if needed.

    Raises ``ConfigError`` if that file can't be created or read, has no valid key, or is readable by other users.
    """
    if config.secret_key is not None:
        return SecretBox([SecretStr(key) for key in split_list(config.secret_key.get_secret_value())])
    path = prepare_data_dir(config.data_dir) / KEY_FILE_NAME
    try:
        if not path.exists():
            _create_key_file(path)
        keys = _read_key_file(path)
    except OSError as error:
        msg = f"{path} can't be made or read ({error.strerror}). Set PARLEY_SECRET_KEY, or another PARLEY_DATA_DIR."
        raise ConfigError(msg) from None
    return SecretBox(keys)


def prepare_data_dir(path: Path) -> Path:
    """Create the directory with mode 0700 unless it exists. Raises ``ConfigError``."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        msg = f"PARLEY_DATA_DIR: {path} can't be made ({error.strerror})."
        raise ConfigError(msg) from None
    return path


def _derive(key: str, purpose: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"parley secrets v1: " + purpose).derive(
        key.encode()
    )


def _cipher(key: str) -> AESGCM:
    return AESGCM(_derive(key, b"encryption", 32))


def _associated_data(key_id: str, context: str) -> bytes:
    return f"{_VERSION}.{key_id}.{context}".encode()


def _signature(key: bytes, message: bytes, purpose: str) -> bytes:
    return hmac.digest(key, purpose.encode() + b"\x00" + message, "sha256")


def _split(token: str) -> tuple[str, bytes]:
    """Split into the key id, and nonce plus ciphertext. Raises ``SecretUnreadable`` if malformed."""
    version, _, rest = token.partition(".")
    key_id, _, payload = rest.partition(".")
    try:
        sealed = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        sealed = b""
    if version != _VERSION or not key_id or len(sealed) <= _NONCE_BYTES:
        msg = "This is not a secret that Parley encrypted."
        raise SecretUnreadable(msg)
    return key_id, sealed


def _create_key_file(path: Path) -> None:
    """Create the file atomically with its content: if two processes race, one wins, and both read the same key."""
    handle, draft = tempfile.mkstemp(prefix=".secret.", dir=path.parent)  # mkstemp gives mode 0600.
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            # Every secret in the database depends on this file, so it has to survive a power cut.
            os.fsync(file.fileno())
        try:
            # Unlike ``rename``, ``link`` never replaces an existing file.
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        Path(draft).unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read_key_file(path: Path) -> list[SecretStr]:
    """Return one key per line; the first one encrypts."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & 0o077:
            msg = f"{path} can be used by other users (mode {mode & 0o777:04o}). Run: chmod 600 {path}"
            raise ConfigError(msg)
        content = file.read(_MAX_KEY_FILE_BYTES + 1)
    try:
        keys = [line.strip() for line in content.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        keys = []
    if len(content) > _MAX_KEY_FILE_BYTES or not keys or any(len(key) < MIN_SECRET_KEY_CHARACTERS for key in keys):
        msg = f"{path} holds no proper key: each line needs at least {MIN_SECRET_KEY_CHARACTERS} characters."
        raise ConfigError(msg)
    return [SecretStr(key) for key in keys]
