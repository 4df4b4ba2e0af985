"""Streaming archives: ZIP, and tar with gzip, generated in chunks of about 64 KiB with bounded memory."""

import tarfile
import time
import zlib
from collections.abc import Generator
from contextlib import closing
from typing import IO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from app.services.filesystem.members import PIECE_BYTES, Member

# A third of the time that level 6 takes, for a tenth more bytes of source code.
LEVEL = 1
# Input bytes between two yields, whose chunk may be empty, so that each step is short.
STEP_BYTES = 1024 * 1024
# An entry takes about as long as compressing this many bytes.
WORK_PER_ENTRY = 8 * 1024
_LINK, _DIRECTORY, _FILE = 0o120000, 0o040000, 0o100000
_FIRST_ZIP_YEAR, _LAST_ZIP_YEAR = 1980, 2107
_GZIP_WINDOW = 31


class _Buffer:
    """An unseekable output file for ``ZipFile``, drained by ``take``."""

    def __init__(self) -> None:
        self._content = bytearray()

    def write(self, content: bytes) -> int:
        self._content += content
        return len(content)

    def flush(self) -> None:
        """Do nothing; ``ZipFile`` needs the method."""

    def __len__(self) -> int:
        return len(self._content)

    def take(self) -> bytes:
        taken = bytes(self._content)
        self._content.clear()
        return taken


class _StepBudget:
    """Tells when a generator should yield: after enough output, or enough work."""

    def __init__(self) -> None:
        self._work = 0

    def is_over(self, work: int, output_bytes: int) -> bool:
        """Count the work, in bytes; True if the step is long enough, and another one begins."""
        self._work += work
        if self._work < STEP_BYTES and output_bytes < PIECE_BYTES:
            return False
        self._work = 0
        return True


def zip_pieces(found: Generator[Member]) -> Generator[bytes]:
    """Generate a ZIP archive of the members. Its central directory stays in memory until the end. Blocking."""
    buffer, step = _Buffer(), _StepBudget()
    with closing(found), ZipFile(cast("IO[bytes]", buffer), "w") as archive:
        for member in found:
            info = _zip_info(member)
            with archive.open(info, "w") as entry:
                if member.target is not None:
                    entry.write(member.target.encode("utf-8", "surrogateescape"))
                for piece in member.pieces() if member.is_file else ():
                    entry.write(piece)
                    if step.is_over(len(piece), len(buffer)):
                        yield buffer.take()
            if step.is_over(WORK_PER_ENTRY, len(buffer)):
                yield buffer.take()
    yield buffer.take()


def tar_pieces(found: Generator[Member]) -> Generator[bytes]:
    """Generate a gzipped tar archive of the members in pax format (POSIX.1-2001). Blocking."""
    squeeze = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    buffer, step = _Buffer(), _StepBudget()
    with closing(found):
        for member in found:
            info = _tar_info(member)
            buffer.write(squeeze.compress(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")))
            for piece in _padded(member, info.size):
                buffer.write(squeeze.compress(piece))
                if step.is_over(len(piece), len(buffer)):
                    yield buffer.take()
            if step.is_over(WORK_PER_ENTRY, len(buffer)):
                yield buffer.take()
    buffer.write(squeeze.compress(bytes(2 * tarfile.BLOCKSIZE)) + squeeze.flush())
    yield buffer.take()


def _padded(member: Member, size: int) -> Generator[bytes]:
    """Generate a file's content and the zeros up to whole blocks of ``size``, which the header has already.

    A file that was truncated meanwhile is padded with zeros too.
    """
    left = -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    for piece in member.pieces() if member.is_file else ():
        left -= len(piece)
        yield piece
    while left > 0:
        yield bytes(min(left, PIECE_BYTES))
        left -= PIECE_BYTES


def _tar_info(member: Member) -> tarfile.TarInfo:
    info = tarfile.TarInfo(member.path)
    info.mode = member.mode
    info.mtime = max(0, int(member.status.st_mtime))
    if member.target is not None:
        info.type, info.linkname = tarfile.SYMTYPE, member.target
    elif member.is_file:
        info.size = member.status.st_size
    else:
        info.type = tarfile.DIRTYPE
    return info


def _zip_info(member: Member) -> ZipInfo:
    modified = time.gmtime(min(max(0, member.status.st_mtime), 2**32))
    date = modified[:6] if _FIRST_ZIP_YEAR <= modified[0] <= _LAST_ZIP_YEAR else (_FIRST_ZIP_YEAR, 1, 1, 0, 0, 0)
    is_directory = not member.is_file and member.target is None
    info = ZipInfo(zip_name(member.path) + ("/" if is_directory else ""), date)
    kind = _LINK if member.target is not None else _DIRECTORY if is_directory else _FILE
    info.external_attr = (kind | member.mode) << 16 | (0x10 if is_directory else 0)
    info.compress_type = ZIP_DEFLATED if member.is_file else ZIP_STORED
    # ``ZipFile`` has a level for what it is given by name only. Python 3.13 renames the attribute, and keeps this one.
    info._compresslevel = LEVEL  # noqa: SLF001  # pyright: ignore[reportAttributeAccessIssue]
    info.file_size = member.status.st_size if member.is_file else 0
    return info


def zip_name(path: str) -> str:
    r"""Encode a path for a ZIP, whose names are UTF-8, and in which Windows takes ``\`` for a separator.

    In a component with a backslash, a control character or invalid UTF-8, these and ``%`` become ``%XX``.
    """
    return "/".join(map(_zip_component, path.split("/")))


def _zip_component(name: str) -> str:
    if name.isprintable() and "\\" not in name:
        # Surrogates are not printable.
        return name
    return "".join(map(_escaped, name))


def _escaped(character: str) -> str:
    if character.isprintable() and character not in "\\%":
        return character
    return "".join(f"%{code:02X}" for code in character.encode("utf-8", "surrogateescape"))
