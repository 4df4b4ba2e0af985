"""Names of files as text: whatever their bytes are, what is shown names the same file again."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.services.filesystem.names import meant, shown
from app.services.filesystem.path_walk import WorkspacePathError


@given(st.binary(min_size=1).filter(lambda name: b"\x00" not in name))
@example(b'"')
@example(b'"a"')
@example(b"\xff\\")
def test_what_is_shown_is_text_and_names_the_same_file(name: bytes) -> None:
    path = os.fsdecode(name)
    text = shown(path)
    assert text.encode()
    assert os.fsencode(meant(text)) == name


def test_only_what_is_no_text_is_quoted() -> None:
    assert shown("src/wörld.py") == "src/wörld.py"
    assert shown(os.fsdecode(b"caf\xe9/a b\n")) == '"caf\\351/a b\\n"'


@pytest.mark.parametrize("path", ['"\\"', '"\\x41"', '"a"b"', '"\\777"', '"\ud800"'])
def test_a_quoted_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(WorkspacePathError):
        meant(path)
