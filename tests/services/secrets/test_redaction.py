"""Redaction: no form of a secret gets through, wherever the text is cut, and everything else does."""

import base64
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from types import FrameType
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from app.services.secrets.redaction import JSONValue, Redactor

KEY = "sk-0123456789abcdef"
AWKWARD = 'p@ss/w0rd+"é\\ \n%'
HIDDEN = "<secret hidden>"

TraceFunction = Callable[[FrameType, str, object], "TraceFunction"]


def redactor(*secrets: str) -> Redactor:
    return Redactor([SecretStr(secret) for secret in secrets])


def streamed(using: Redactor, text: str, cuts: list[int]) -> str:
    stream = using.stream()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [stream.feed(text[start:end]) for start, end in pairwise(places)]
    return "".join(pieces) + stream.finish()


def test_every_occurrence_of_every_secret_is_replaced() -> None:
    using = redactor(KEY, "another secret")
    assert using.text(f"{KEY} and another secret, {KEY}{KEY}!") == f"{HIDDEN} and {HIDDEN}, {HIDDEN}{HIDDEN}!"


def test_text_without_secrets_stays_as_it_is() -> None:
    assert redactor(KEY).text("sk-0123456789 is only the beginning") == "sk-0123456789 is only the beginning"
    assert redactor(KEY).text("") == ""
    assert redactor().text(KEY) == KEY


def test_short_secrets_are_left_alone() -> None:
    assert redactor("seven77", "").text("seven77") == "seven77"
    assert redactor("eight888").text("eight888") == HIDDEN


def test_blanks_around_a_secret_are_not_part_of_it() -> None:
    assert redactor(f" {KEY}\n").text(f"key={KEY}.") == f"key={HIDDEN}."


def test_what_overlapping_secrets_cover_is_replaced_as_one() -> None:
    assert redactor("abcdefgh", "efghijkl").text("-abcdefghijkl-") == f"-{HIDDEN}-"
    assert redactor("abcdefghijkl", "efghefgh", "cdefghij").text("-abcdefghijkl-") == f"-{HIDDEN}-"
    assert redactor("aaaaaaaa").text("-" + "a" * 100 + "-") == f"-{HIDDEN}-"
    # A longer one that turns out not to be there does not hide the shorter one in it.
    assert redactor("0123456789abcdef", "56789abc").text("0123456789abcde!") == f"01234{HIDDEN}de!"


@pytest.mark.parametrize(
    "form",
    [
        AWKWARD,
        quote(AWKWARD, safe=""),
        quote(AWKWARD),
        quote_plus(AWKWARD),
        quote(AWKWARD, safe="")
        .replace("%2F", "%2f")
        .replace("%C3%A9", "%c3%a9")
        .replace("%2B", "%2b")
        .replace("%5C", "%5c")
        .replace("%0A", "%0a"),
        json.dumps(AWKWARD)[1:-1],
        json.dumps(AWKWARD, ensure_ascii=False)[1:-1],
        base64.b64encode(AWKWARD.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(AWKWARD.encode()).decode().rstrip("="),
    ],
)
def test_encoded_forms_are_replaced(form: str) -> None:
    assert redactor(AWKWARD).text(f"x={form}&y") == f"x={HIDDEN}&y"


@pytest.mark.parametrize("before", ["", "u", "us", "use", "x-access-token:"])
@pytest.mark.parametrize("after", ["", "!", "!!", "!!!"])
@pytest.mark.parametrize("secret", [KEY, KEY + "g", KEY + "gh", "\u00ff\u00fe>?>?>?"])
def test_base64_of_a_text_that_holds_a_secret_gives_nothing_of_it_away(before: str, after: str, secret: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = redactor(secret).text(encode((before + secret + after).encode()).decode())
        assert shown.count(HIDDEN) == 1
        # What is left are the groups of 4 characters that also carry what stands around the secret.
        left = shown.replace(HIDDEN, "")
        assert len(left) <= -(-len(before) * 4 // 3) + -(-len(after) * 4 // 3) + 4


def test_json_is_redacted_in_strings_and_keys_at_any_depth() -> None:
    value: JSONValue = {"a": [KEY, 1, None, True, 2.5, {f"Bearer {KEY}": f"<{KEY}>"}], KEY: "x"}
    before = json.dumps(value)
    assert redactor(KEY).json(value) == {
        "a": [HIDDEN, 1, None, True, 2.5, {f"Bearer {HIDDEN}": f"<{HIDDEN}>"}],
        HIDDEN: "x",
    }
    # The value itself is not touched.
    assert json.dumps(value) == before


def test_json_may_be_nested_deeper_than_python_calls() -> None:
    value: JSONValue = KEY
    for _ in range(10_000):
        value = [value]
    value = redactor(KEY).json(value)
    for _ in range(10_000):
        assert isinstance(value, list)
        value = value[0]
    assert value == HIDDEN


def test_a_redactor_does_not_show_its_secrets() -> None:
    using = redactor(KEY)
    assert KEY not in repr(using) + repr(using.stream())


# Streams


def test_ordinary_text_is_not_delayed() -> None:
    stream = redactor(KEY).stream()
    assert [stream.feed(piece) for piece in ("Hel", "lo", ", wor", "ld", ".")] == ["Hel", "lo", ", wor", "ld", "."]
    assert stream.finish() == ""


def test_only_a_possible_beginning_of_a_secret_is_held_back() -> None:
    stream = redactor(KEY).stream()
    assert stream.feed("use s") == "use "
    assert stream.feed("k-01") == ""
    assert stream.feed("99 as") == "sk-0199 a"
    assert stream.feed("k") == ""
    assert stream.feed("!") == "sk!"
    assert stream.finish() == ""


def test_a_secret_is_given_out_as_soon_as_it_ends() -> None:
    stream = redactor(KEY).stream()
    assert stream.feed(KEY[:10]) == ""
    assert stream.feed(KEY[10:]) == HIDDEN
    assert stream.finish() == ""


def test_what_was_held_back_comes_at_the_end() -> None:
    stream = redactor(KEY).stream()
    assert stream.feed("sk-0123") == ""
    assert stream.finish() == "sk-0123"


@given(
    secrets=st.lists(st.text("ab", min_size=8, max_size=12), max_size=4),
    text=st.text("ab", max_size=120),
    cuts=st.lists(st.integers(0, 120), max_size=20),
)
@settings(deadline=None)
def test_a_stream_gives_what_the_whole_text_gives(secrets: list[str], text: str, cuts: list[int]) -> None:
    using = redactor(*secrets)
    assert streamed(using, text, cuts) == using.text(text)


@given(
    secrets=st.lists(st.text(min_size=8, max_size=20), min_size=1, max_size=3),
    parts=st.lists(st.one_of(st.integers(0, 2), st.text(max_size=10)), max_size=20),
    cuts=st.lists(st.integers(0, 500), max_size=20),
)
@settings(deadline=None)
def test_no_secret_gets_through(secrets: list[str], parts: list[int | str], cuts: list[int]) -> None:
    text = "".join(secrets[part % len(secrets)] if isinstance(part, int) else part for part in parts)
    using = redactor(*secrets)
    shown = streamed(using, text, cuts)
    assert shown == using.text(text)
    for secret in secrets:
        if len(secret.strip()) >= 8:
            assert all(secret.strip() not in piece for piece in shown.split(HIDDEN))


@given(secrets=st.lists(st.text("ab", min_size=8, max_size=11), max_size=4), text=st.text("ab", max_size=80))
@settings(deadline=None)
def test_exactly_what_secrets_cover_is_replaced(secrets: list[str], text: str) -> None:
    # The plain definition, in quadratic time: mark what each occurrence covers, and part what only touches.
    spans: list[tuple[int, int]] = []
    occurrences = sorted(
        (start, start + len(secret))
        for secret in secrets
        for start in range(len(text))
        if text.startswith(secret, start)
    )
    for start, end in occurrences:
        if spans and start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    expected, position = "", 0
    for start, end in spans:
        expected += text[position:start] + HIDDEN
        position = end
    assert redactor(*secrets).text(text) == expected + text[position:]


def work(using: Redactor, text: str) -> int:
    """How many lines of Python it takes to redact ``text``, which unlike seconds is always the same."""
    lines = 0

    def count(_frame: FrameType, event: str, _argument: object) -> TraceFunction:
        nonlocal lines
        lines += event == "line"
        return count

    earlier = sys.gettrace()
    sys.settrace(count)
    try:
        using.text(text)
    finally:
        sys.settrace(earlier)
    return lines


@pytest.mark.parametrize("unit", ["a", "ab", "a" * 63 + "b", "a" * 63 + "c", "b", "a" * 32 + "b"])
def test_the_work_grows_with_the_text_alone(unit: str) -> None:
    using = redactor("a" * 64, "a" * 32 + "b" + "a" * 31, "ab" * 40, "a" * 63 + "c")
    text = unit * (2_000 // len(unit))
    assert work(using, text * 4) <= 4.1 * work(using, text) + 100


def test_a_stream_holds_no_more_than_the_longest_form() -> None:
    stream = redactor("a" * 64).stream()
    for _ in range(1_000):
        assert stream.feed("a" * 10) == ""
    assert stream.held_characters <= 64
    assert stream.finish() == HIDDEN
