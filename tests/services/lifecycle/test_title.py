"""Titles that people give, and titles made from a message's beginning."""

import time

import pytest

from app.errors import InvalidInput
from app.services.lifecycle.title import checked_title, truncated_title


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("\u202eHello\u200b  \n world", "Hello world"),
        ("\u200b\u2060", ""),
        ("x" * 31, "x" * 30 + "..."),
        ("x" * 29 + "👩\u200d👧", "x" * 29 + "👩..."),
        ("\u200b" * 100 + "Hello", "Hello"),
    ],
)
def test_a_messages_beginning_has_nothing_that_is_not_seen(text: str, title: str) -> None:
    assert truncated_title(text) == title


@pytest.mark.parametrize(
    "given", [None, "", "  ", "\u200b", "\u202e\u2066 ", "\u3164", "\u2800\u200d", "\ufe0f", "\u00ad"]
)
def test_a_given_title_that_shows_nothing_is_blank(given: str | None) -> None:
    assert checked_title(given) is None


@pytest.mark.parametrize(
    ("given", "title"),
    [
        (" **Mine** <b>\u200d ", "**Mine** <b>"),
        ("A\u202eB\u2066C", "ABC"),
        ("One\r\ntwo\tthree", "One two three"),
        ("\x1b[31mRed\x07", "[31mRed"),
        ("In\u200bvis\u00adible", "Invisible"),
        ("Two  spaces", "Two  spaces"),
        ("...", "..."),
        ("👩\u200d👧 ❤\ufe0f", "👩\u200d👧 ❤\ufe0f"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\u200b" * 300 + "x" * 200, "x" * 200),
        ("e\u0301", "e\u0301"),
    ],
)
def test_a_given_title_is_one_line_of_what_is_seen(given: str, title: str) -> None:
    assert checked_title(given) == title


@pytest.mark.parametrize("given", ["a\x00", "a\ud800", "x" * 201])
def test_a_given_title_that_can_not_be_kept_is_refused(given: str) -> None:
    with pytest.raises(InvalidInput):
        checked_title(given)


def test_a_message_is_read_as_far_as_its_beginning_goes() -> None:
    assert truncated_title("\u200b" * 99_990 + "Hello") == "Hello"
    assert truncated_title(" \u2800\n" * 30_000 + "One\n" * 100) == "One One One One One One One On..."
    assert truncated_title("x" * 999 + "\u200b" + "y" * 10) == "x" * 30 + "..."


def test_a_given_title_that_is_far_too_long_is_refused_before_it_is_read() -> None:
    started = time.process_time()
    with pytest.raises(InvalidInput):
        checked_title("\u200d👩" * 1_000_000)
    assert time.process_time() - started < 1.0
    assert checked_title("\u200b" * 2000) is None
