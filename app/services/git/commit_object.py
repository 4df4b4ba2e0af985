"""Parsing of commit objects as git stores them.

An agent can write arbitrary bytes there: malformed fields are left out or replaced.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_NAME_CHARACTERS = 300
MAX_HEADLINE_CHARACTERS = 500
MAX_MESSAGE_BYTES = 100_000
MAX_PARENTS = 100
_PERSON = re.compile(rb"(?P<name>[^<\n]*?) ?<(?P<email>[^>\n]*)>(?: (?P<seconds>-?[0-9]{1,12}))?")
# Encodings in real use. Python has others whose decoders take quadratic time.
_ENCODING = re.compile(
    r"iso-?8859-?[0-9]{1,2}|latin-?[0-9]{1,2}|windows-125[0-8]|cp125[0-8]|koi8-[ru]|shift[_-]?jis|euc-?(jp|kr)|gbk|"
    r"gb18030|gb2312|big5",
    re.IGNORECASE,
)
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Person:
    """An author or committer. ``at`` is 1970-01-01 if the time is malformed."""

    name: str
    email: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LoggedCommit:
    """A parsed commit. ``is_cut``: the message was truncated."""

    sha: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str
    is_cut: bool

    @property
    def headline(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0][:MAX_HEADLINE_CHARACTERS]

    @property
    def body(self) -> str:
        """The rest of the message."""
        first, _, rest = self.message.partition("\n")
        return (first[MAX_HEADLINE_CHARACTERS:] + "\n" + rest).strip("\n")


def parse_commit(sha: str, content: bytes, *, is_cut: bool = False) -> LoggedCommit:
    """Parse the content of a commit object; ``is_cut``: the content is truncated."""
    head, _, message = content.partition(b"\n\n")
    lines = head.split(b"\n")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b" ")
        fields.setdefault(name, value)
    parents = [line[7:].decode("ascii", "replace") for line in lines if line.startswith(b"parent ")]
    encoding = fields.get(b"encoding", b"utf-8").decode("ascii", "replace")
    text = _text(message[:MAX_MESSAGE_BYTES].lstrip(b"\n"), encoding).rstrip()
    return LoggedCommit(
        sha,
        tuple(parents[:MAX_PARENTS]),
        _person(fields.get(b"author", b""), encoding),
        _person(fields.get(b"committer", b""), encoding),
        text,
        is_cut or len(message) > MAX_MESSAGE_BYTES,
    )


def _person(value: bytes, encoding: str) -> Person:
    found = _PERSON.match(value)
    if found is None:
        return Person("", "", _EPOCH)
    name, email = (_text(found[group], encoding)[:MAX_NAME_CHARACTERS] for group in ("name", "email"))
    try:
        moment = datetime.fromtimestamp(int(found["seconds"] or 0), UTC)
    except (OverflowError, ValueError, OSError):
        moment = _EPOCH
    return Person(name, email, moment)


def _text(content: bytes, encoding: str) -> str:
    known = encoding if _ENCODING.fullmatch(encoding) else "utf-8"
    try:
        text = content.decode(known, "replace")
    except LookupError:
        text = content.decode("utf-8", "replace")
    return text.replace("\x00", "\ufffd")
