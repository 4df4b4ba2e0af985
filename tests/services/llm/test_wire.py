"""What is kept of a stream while it lasts."""

from types import SimpleNamespace
from typing import cast

import pytest

from app.services.llm.assembly import Chunk
from app.services.llm.wire import MAX_JOINED_CHARS, JoinedChunks


def chunk(content: str | None = None, *, finish_reason: str | None = None, **more: object) -> Chunk:
    choice = SimpleNamespace(delta=SimpleNamespace(content=content, **more), finish_reason=finish_reason)
    return cast("Chunk", SimpleNamespace(choices=[choice]))


def contents(chunks: JoinedChunks) -> list[str | None]:
    return [each.choices[0].delta.content for each in chunks]


def kept(*chunks: Chunk) -> JoinedChunks:
    found = JoinedChunks()
    for each in chunks:
        found.append(each)
    return found


def test_text_is_joined_but_for_the_last_two_chunks() -> None:
    assert contents(kept(*map(chunk, ["a", "b", "c", "d", "e"]))) == ["abc", "d", "e"]


@pytest.mark.parametrize("name", ["tool_calls", "reasoning_content", "thinking_blocks", "images"])
def test_what_is_not_text_alone_is_left_as_it_came(name: str) -> None:
    other = chunk("x", **{name: ["something"]})  # pyright: ignore[reportArgumentType]

    found = kept(chunk("a"), chunk("b"), other, chunk("c"), chunk("d"), chunk("e"), chunk("f"))

    assert contents(found) == ["ab", "x", "cd", "e", "f"]
    assert found[1] is other


def test_chunks_with_tokens_or_an_end_or_without_a_choice_are_left_as_they_came() -> None:
    tokens = cast("Chunk", SimpleNamespace(choices=[], usage=object()))
    end = chunk("b", finish_reason="stop")

    assert kept(chunk("a"), end, tokens, chunk("c"), chunk("d"), chunk("e"))[1:3] == [end, tokens]


def test_a_joined_text_is_bounded() -> None:
    piece = "x" * (MAX_JOINED_CHARS // 4)

    found = kept(*(chunk(piece) for _ in range(12)))

    assert max(len(text or "") for text in contents(found)) == MAX_JOINED_CHARS
    assert "".join(text or "" for text in contents(found)) == piece * 12
