"""Commits, whatever bytes an agent wrote into them."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.services.git.commit_object import MAX_MESSAGE_BYTES, parse_commit

SHA = "a" * 40
HEAD = b"tree " + b"b" * 40 + b"\nparent " + b"c" * 40 + b"\nparent " + b"d" * 40 + b"\n"
PEOPLE = b"author Ada Lovelace <ada@example.com> 1700000000 +0100\ncommitter Bob <bob@example.com> 1700000001 -0500\n"


def test_a_commit_has_its_parents_people_times_and_message() -> None:
    commit = parse_commit(SHA, HEAD + PEOPLE + b"\nAdd an engine\n\nIt turns.\n\nCo-authored-by: Agent <a@b.c>\n")
    assert (commit.sha, commit.parents) == (SHA, ("c" * 40, "d" * 40))
    assert (commit.author.name, commit.author.email) == ("Ada Lovelace", "ada@example.com")
    assert commit.author.at == datetime.fromtimestamp(1700000000, UTC)
    assert (commit.committer.name, commit.committer.at) == ("Bob", datetime.fromtimestamp(1700000001, UTC))
    assert commit.message == "Add an engine\n\nIt turns.\n\nCo-authored-by: Agent <a@b.c>"
    assert (commit.headline, commit.body) == ("Add an engine", "It turns.\n\nCo-authored-by: Agent <a@b.c>")
    assert commit.is_cut is False


def test_a_message_is_text_whatever_it_was() -> None:
    latin = parse_commit(SHA, HEAD + PEOPLE + b"encoding ISO-8859-1\n\ncaf\xe9\n")
    odd = parse_commit(SHA, HEAD + PEOPLE + b"encoding punycode\n\ncaf\xe9\x00-\n")
    assert latin.message == "café"
    assert odd.message == "caf\ufffd\ufffd-"


def test_what_makes_no_sense_is_replaced() -> None:
    nobody = parse_commit(SHA, b"tree x\nauthor nobody\ncommitter X <x> 999999999999\n\nHi")
    assert (nobody.author.name, nobody.author.at) == ("", datetime.fromtimestamp(0, UTC))
    assert (nobody.committer.name, nobody.committer.at) == ("X", datetime.fromtimestamp(0, UTC))
    assert nobody.message == "Hi"
    empty = parse_commit(SHA, b"")
    assert (empty.message, empty.headline, empty.body, empty.parents) == ("", "", "", ())


def test_a_long_message_is_cut() -> None:
    commit = parse_commit(SHA, HEAD + PEOPLE + b"\n" + b"x" * (MAX_MESSAGE_BYTES + 1))
    assert (len(commit.message), len(commit.headline), commit.is_cut) == (MAX_MESSAGE_BYTES, 500, True)
    assert commit.headline + commit.body == commit.message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_commit(content: bytes) -> None:
    commit = parse_commit(SHA, content)
    assert "\x00" not in commit.message
    commit.message.encode()
