"""What strangers write, whatever it is, is looked through in a time that grows with its length alone.

The time of the processor is compared with that of half the length, never with a number of seconds.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from graphql import GraphQLError
from pydantic import SecretStr

from app.graphql.masking import mask
from app.logs import hide_secrets
from app.services.agent.argument_text import parse_arguments
from app.services.git.base import CloneSource
from app.services.git.clone import reason_of
from app.services.llm.argument_pieces import ArgumentPieces
from app.services.llm.chunks import StreamRepair
from app.services.llm.fault_words import sentence_of
from app.services.llm.faults import fault_of
from app.services.llm.gathering import joined
from app.services.llm.lines import repaired_line
from app.services.llm.transport import CallRefused
from app.services.secrets.redaction import Redactor

LENGTH = 50_000
ROUNDS = 5
# Doubling makes a quadratic search four times as long, a linear one twice.
MOST = 3.0
# Where the work has a bound, what is left is too short to be compared.
NOISE_SECONDS = 0.002
SOURCE = CloneSource("https://git.example/a/b", password=SecretStr("token-of-the-caller"))
SECRET = "abcabcabd-secret-of-the-caller"
REDACTOR = Redactor([SecretStr(SECRET), SecretStr("aaaaaaaaaaaaaaab"), SecretStr("========/:@")])

NASTY = (
    *("w", "/", "@", ":", "=", " ", "\n", "\t", "-", "{", "[", "]", '"', "'", "\\", "<", "&", "\0", "é", "5"),
    *(
        "a@",
        "http://",
        "http://a:",
        "://x",
        "QUJD",
        "eyJhbGciOi-",
        "ey-",
        "sk-",
        "Bearer ",
        "Basic  ",
        "cookie:",
        "x-a-key ",
    ),
    *(
        '"cookie":\'',
        "'cookie':\"",
        "Error: ",
        "ErrorError",
        "litellm.",
        "retry in ",
        "retry in 5",
        "token=",
        "abcabcab",
    ),
    *('{"error": ', '{"message": "', "b'", "\\x00", "<html>", "<title>", "Chunk=", "ModelResponse(id=", "Traceback "),
    *(
        " Did you mean ",
        ". Did you mean x",
        "cannot represent ",
        "Value '",
        "unknown field '",
        'Name "',
        ", but encountered",
    ),
    *("Remote branch ", "repository '", "-----BEGIN", "1 validation error for ", "data: ", "data: {}\n", "a\n\n"),
)


def of_fault(text: str) -> object:
    class LibraryError(Exception):
        body = text

    return fault_of(LibraryError(text), secret=SECRET)


def of_masking(text: str) -> object:
    return mask(GraphQLError(text))


def of_log(text: str) -> object:
    return hide_secrets(None, "info", {"event": "x", "detail": text, "exception": text})


def of_chunk(text: str) -> object:
    # Beyond its bounds an event is refused.
    with suppress(CallRefused):
        return StreamRepair().repaired(b"data: " + text.encode())
    return None


def of_events(text: str) -> object:
    return joined(text.encode(), StreamRepair())


def of_line(text: str) -> object:
    with suppress(CallRefused):
        return repaired_line(text.encode(), dict)
    return None


def of_arguments(text: str) -> object:
    """Pieces of twelve characters, each a beginning of what is meant, and all of it at the end."""
    arguments = ArgumentPieces()
    for start in range(0, len(text), 12):
        arguments.add("{" + text[start : start + 11])
    arguments.add(text)
    return arguments.text, arguments.is_complete


def of_argument_text(text: str) -> object:
    quoted = text.replace("'", "")
    return [parse_arguments(each) for each in (text, "{" + text, f"{{'a': '{quoted}'}}", f"{text}{{}},", f"{{}}{text}")]


def of_git(text: str) -> object:
    return reason_of(text, SOURCE, None)


WORK: dict[str, Callable[[str], object]] = {
    "sentence": sentence_of,
    "fault": of_fault,
    "redaction": REDACTOR.text,
    "masking": of_masking,
    "log": of_log,
    "chunk": of_chunk,
    "events": of_events,
    "line": of_line,
    "arguments": of_arguments,
    "argument text": of_argument_text,
    "git": of_git,
}


def seconds_of(work: Callable[[str], object], text: str) -> float:
    began = time.thread_time()
    work(text)
    return time.thread_time() - began


def growth_of(work: Callable[[str], object], piece: str) -> tuple[float, float] | None:
    """The times of a text and of twice that text, where the second one is longer than it should be."""
    once = piece * (LENGTH // len(piece))
    short = long = float("inf")
    for _ in range(ROUNDS):
        short = min(short, seconds_of(work, once))
        long = min(long, seconds_of(work, once + once))
        if long + NOISE_SECONDS < MOST * (short + NOISE_SECONDS):
            return None
    return short, long


@pytest.mark.parametrize("name", WORK)
def test_twice_the_length_takes_about_twice_the_time(name: str) -> None:
    found = {piece: growth_of(WORK[name], piece) for piece in NASTY}

    assert {piece: times for piece, times in found.items() if times is not None} == {}
