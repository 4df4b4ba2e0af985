"""The demonstration model: what it says, and that it says so like any other model, without litellm."""

import pytest

from app.config import Config
from app.errors import LLMFailure
from app.services.llm import demo
from app.services.llm.base import ChatMessage, Model, Role
from app.services.llm.litellm import LiteLLM

DEMO = Model("demo/assistant", None, None)


def asked(text: str, *images: str) -> str:
    return demo.answer(
        (ChatMessage(Role.SYSTEM, "You are an agent. Keep the title."), ChatMessage(Role.USER, text, images))
    )


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("How do I create a conversation?", "createConversation"),
        ("how can I watch it live", "conversationStatusChanged"),
        ("Can I search for old ones?", "totalCount"),
        ("Rename it, please", "renameConversation"),
        ("delete the conversation", "deleteConversation"),
        ("Which models are there?", "llmModel"),
        ("What subscriptions do you have?", "messageDeltas"),
        ("stop!", "stopConversation"),
        ("export the trajectory", "replay"),
    ],
)
def test_a_question_about_parley_is_answered(question: str, words: str) -> None:
    assert words in asked(question)


@pytest.mark.parametrize("question", ["", "hello", "how do I rename", "x" * 5000])
def test_every_answer_says_that_it_is_a_demonstration(question: str) -> None:
    assert asked(question).startswith("I am `demo/assistant`, Parley's demonstration model: no language model")


def test_another_message_is_quoted_in_part_and_introduced() -> None:
    assert "You wrote: “Bonjour à tous”\n\nI can tell you how to create" in asked("Bonjour\n à tous")
    assert f"“{'x' * 197}...”" in asked("x" * 5000)


def test_images_alone_are_a_message() -> None:
    assert "You sent 2 images; a demonstration can't look at pictures. I can tell you" in asked(
        "", "https://a", "https://b"
    )
    assert "You wrote: “Look”" in asked("Look", "https://a")
    assert "You sent an image;" in asked("Look", "https://a")


def test_only_the_last_user_message_counts() -> None:
    history = (
        ChatMessage(Role.USER, "rename"),
        ChatMessage(Role.ASSISTANT, "…"),
        ChatMessage(Role.USER, "delete"),
        ChatMessage(Role.ASSISTANT, "…"),
    )

    assert "deleteConversation" in demo.answer(history)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("How can I rename a conversation and keep its old cursor working?", "Rename conversation keep its old cursor"),
        ("what is it", "What is it"),
        ("日本語で話そう", "日本語で話そう"),
        ("", "A demonstration"),
    ],
)
def test_a_title_is_made_of_the_telling_words(text: str, title: str) -> None:
    wanted = (ChatMessage(Role.SYSTEM, "Write a title."), ChatMessage(Role.USER, text))

    assert demo.answer(wanted, max_tokens=50) == title


def test_pieces_are_words_and_make_the_text_again() -> None:
    assert list(demo.pieces(" One  two\n\nthree")) == [" One  ", "two\n\n", "three"]
    assert "".join(demo.pieces(asked("hello"))) == asked("hello")


async def test_the_demonstration_streams_word_by_word_and_is_free() -> None:
    llm = LiteLLM(Config(_env_file=None))  # pyright: ignore[reportCallIssue]
    messages = (ChatMessage(Role.SYSTEM, "Be kind."), ChatMessage(Role.USER, "Hello you"))
    heard: list[str] = []

    async def on_text(piece: str) -> None:
        heard.append(piece)

    answer = await llm.complete(DEMO, messages, on_text=on_text)

    assert heard == list(demo.pieces(demo.answer(messages)))
    assert answer.text == demo.answer(messages)
    assert answer.tool_calls == ()
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, len(heard))
    assert answer.usage.cost_usd == 0.0
    await llm.close()


async def test_the_demonstration_gives_titles_and_sees_images() -> None:
    llm = LiteLLM(Config(_env_file=None))  # pyright: ignore[reportCallIssue]
    titled = (ChatMessage(Role.SYSTEM, "Write a title."), ChatMessage(Role.USER, "please fix my broken build"))
    pictured = (ChatMessage(Role.USER, "", ("https://example.com/cat.png",)),)

    assert (await llm.complete(DEMO, titled, max_tokens=50)).text == "Fix broken build"
    assert "You sent an image;" in (await llm.complete(DEMO, pictured)).text
    await llm.close()


async def test_the_demonstration_is_always_ready_and_takes_no_other_name() -> None:
    llm = LiteLLM(Config(_env_file=None))  # pyright: ignore[reportCallIssue]

    llm.warm_up("demo/assistant")
    await llm.validate("demo/assistant", None)

    assert llm.is_ready("demo/assistant")
    assert not await llm.requires_api_key("demo/assistant", None)
    assert await llm.context_tokens("demo/assistant", None) is None
    with pytest.raises(LLMFailure, match="demo/assistant"):
        await llm.complete(Model("demo/other", None, None), (ChatMessage(Role.USER, "Hello"),))
    assert not llm.is_ready("openai/gpt-4o")
