"""Trusted documents and automatic persisted queries: resolves a request's document by its text or SHA-256 hash."""

import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import cast

from app.config import Config, ConfigError, TrustedDocuments

# Relay and GraphQL Code Generator write one file for a whole front end, Apollo one for each release.
MAX_FILES = 1000
MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_DOCUMENTS = 20_000
# With the limit on their number this bounds the cache of persisted queries: 16 MB for a thousand.
PERSISTED_MAX_LENGTH = 16_000

_HASH = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_NOT_TRUSTED = "This server executes only documents that its operator has registered."


class DocumentRefused(Exception):
    """The request's document is unknown or not allowed. Clients react to ``code``."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Documents:
    """Documents registered by the operator (trusted documents) or by clients (automatic persisted queries).

    The operator's files are read once, at the start. Raises ConfigError for an invalid one.
    """

    def __init__(self, config: Config) -> None:
        self._mode = config.trusted_documents
        self._trusted: Mapping[str, str] = {}
        if self._mode is not TrustedDocuments.OFF:
            self._trusted = dict(_read_directory(config.trusted_documents_dir))
        # The two usual spellings of an id, so that most requests need no parsing.
        self._by_id = {name: text for key, text in self._trusted.items() for name in (key, f"sha256:{key}")}
        self._max_persisted = 0 if self._mode is TrustedDocuments.ONLY else config.persisted_queries
        self._persisted: OrderedDict[str, str] = OrderedDict()

    def resolve(self, query: str | None, document_id: object = None, extensions: object = None) -> str | None:
        """Return the text to execute; ``None`` if the request names no document. Raises DocumentRefused.

        ``document_id`` is the request's ``documentId``; its ``extensions`` may hold Apollo's ``persistedQuery``.
        """
        if query is None and isinstance(document_id, str) and document_id in self._by_id:
            return self._by_id[document_id]
        persisted = _persisted_hash(extensions)
        document_hash = _hash(document_id) if document_id is not None else persisted
        if document_hash is not None and (query is None or not query.strip()):
            return self._look_up(document_hash, is_persisted=document_id is None)
        if query is None:
            return None
        if persisted is not None:
            self._persist(persisted, query)
        if self._mode is TrustedDocuments.ONLY and query.strip() and _digest(query) not in self._trusted:
            raise DocumentRefused(_NOT_TRUSTED, "DOCUMENT_NOT_TRUSTED")
        return query

    def _look_up(self, document_hash: str, *, is_persisted: bool) -> str:
        text = self._trusted.get(document_hash) or self._persisted.get(document_hash)
        if text is not None:
            if document_hash in self._persisted:
                self._persisted.move_to_end(document_hash)
            return text
        if self._mode is TrustedDocuments.ONLY:
            raise DocumentRefused(_NOT_TRUSTED, "DOCUMENT_NOT_TRUSTED")
        if not is_persisted:
            raise DocumentRefused("No document of this id is registered.", "DOCUMENT_NOT_FOUND")
        if not self._max_persisted:
            raise DocumentRefused("PersistedQueryNotSupported", "PERSISTED_QUERY_NOT_SUPPORTED")
        # Apollo's clients recognise this message, and then send the whole document.
        raise DocumentRefused("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")

    def _persist(self, document_hash: str, query: str) -> None:
        if _digest(query) != document_hash:
            raise DocumentRefused("The SHA-256 is not that of the document.", "PERSISTED_QUERY_HASH_MISMATCH")
        if self._max_persisted and len(query) <= PERSISTED_MAX_LENGTH:
            self._persisted[document_hash] = query
            self._persisted.move_to_end(document_hash)
            if len(self._persisted) > self._max_persisted:
                self._persisted.popitem(last=False)


def _digest(text: str) -> str:
    # Lone surrogates can't be encoded, but no registered document contains any.
    return sha256(text.encode(errors="replace")).hexdigest()


def _hash(document_id: object) -> str:
    match = _HASH.fullmatch(document_id) if isinstance(document_id, str) else None
    if match is None:
        raise DocumentRefused("A document's id is its SHA-256, in 64 hexadecimal digits.", "BAD_REQUEST")
    return match[1]


def _persisted_hash(extensions: object) -> str | None:
    persisted = cast("dict[str, object]", extensions).get("persistedQuery") if isinstance(extensions, dict) else None
    if persisted is None:
        return None
    if not isinstance(persisted, dict) or cast("dict[str, object]", persisted).get("version") != 1:
        raise DocumentRefused("`persistedQuery` has `version` 1 and a `sha256Hash`.", "BAD_REQUEST")
    return _hash(cast("dict[str, object]", persisted).get("sha256Hash"))


def _read_directory(directory: Path | None) -> Iterator[tuple[str, str]]:
    if directory is None:
        raise ConfigError("PARLEY_TRUSTED_DOCUMENTS needs PARLEY_TRUSTED_DOCUMENTS_DIR.")
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix in {".json", ".graphql"})
        if not paths:
            raise ConfigError(f"{directory} has no manifest (.json) and no document (.graphql).")
        if len(paths) > MAX_FILES:
            raise ConfigError(f"{directory} has more than {MAX_FILES} files.")
        count = 0
        for path in paths:
            for digest, text in _read_file(path):
                count += 1
                if count > MAX_DOCUMENTS:
                    raise ConfigError(f"{directory} has more than {MAX_DOCUMENTS} documents.")
                yield digest, text
    except OSError as error:
        raise ConfigError(f"{directory} can't be read: {error.strerror}.") from None


def _read_file(path: Path) -> Iterator[tuple[str, str]]:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes.")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".graphql":
            yield _digest(text), text
            return
        manifest: object = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is not JSON in UTF-8.") from None
    for name, document in _entries(path, manifest):
        if not isinstance(document, str) or name.removeprefix("sha256:") != _digest(document):
            raise ConfigError(f"{path}: {name[:80]} is not the SHA-256 of its document.")
        yield _digest(document), document


def _entries(path: Path, manifest: object) -> Iterator[tuple[str, object]]:
    """Read a manifest: Relay's and GraphQL Code Generator's map hashes to documents, Apollo's has a list."""
    if not isinstance(manifest, dict):
        raise ConfigError(f"{path} is no manifest: it is an object of documents by their SHA-256, or Apollo's format.")
    fields = cast("dict[str, object]", manifest)
    if fields.get("format") != "apollo-persisted-query-manifest":
        yield from fields.items()
        return
    operations = fields.get("operations")
    for operation in cast("list[object]", operations) if isinstance(operations, list) else []:
        entry = cast("dict[str, object]", operation) if isinstance(operation, dict) else {}
        yield str(entry.get("id")), entry.get("body")
