"""What is left of a model's answer as a title, whatever it wrote around it."""

import time
import unicodedata
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.lifecycle.title import checked_title, truncated_title
from app.services.lifecycle.title_text import of_answer, visible

PLAIN = "Cats and dogs"
AROUND = [
    "{}",
    "<think>The user wants\na title.</think>{}",
    "<think>\n\n</think>\n\n{}",
    "<THINK>Shouted</THINK>\n{}",
    "<thinking type='deep'>One</thinking>{}",
    "<reasoning>One <think>two</think> three</reasoning> {}",
    "<think>I open <think> twice.</think>{}",
    "Reasoning whose beginning is missing.\n</think>\n\n{}",
    "{}\n<think>And it goes on",
    "&lt;think&gt;Escaped&lt;/think&gt;{}",
    "[THINK]As Mistral does[/THINK]{}",
    "◁think▷As Kimi does◁/think▷{}",
    "<|channel|>analysis<|message|>As gpt-oss does.<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "# {}",
    "###   {}",
    "**{}**",
    "***{}***",
    "__{}__",
    "_{}_",
    "*{}*",
    "~~{}~~",
    "`{}`",
    "```\n{}\n```",
    "```text\n{}\n```\n",
    "~~~\n{}\n~~~",
    "- {}",
    "* {}",
    "1. {}",
    "> {}",
    "[{}](https://example.com/a)",
    "![{}](<data:image/png;base64,AAAA>)",
    '"{}"',
    "'{}'",
    "“{}”",
    "«{}»",
    "„{}“",
    "「{}」",
    '"“{}”"',
    "Title: {}",
    "title : {}",
    "**Title:** {}",
    "**Title**: {}",
    "# Title: {}",
    'Title: "{}"',
    '**Title: "{}"**',
    "Titel: {}",
    "Titre : {}",
    "Título: {}",
    "Заголовок: {}",
    "标题：{}",
    "タイトル：{}",
    "제목: {}",
    "Here is the title:\n\n{}",
    "Sure! Here's a title: {}",
    '{{"title": "{}"}}',
    '{{\n  "Title": "{}",\n  "tags": ["a"]\n}}',
    '["{}", "Another"]',
    '[{{"title": "{}"}}]',
    '{{"result": {{"title": "{}"}}}}',
    '```json\n{{"title": "{}"}}\n```',
    '{{"title": "**{}**"}}',
    '{{"title": "{}',
    "\n\n  {}  \nA second line",
    "{}\r\nA second line",
    "{}\u2028A second line",
    "---\n{}",
    "<b>{}</b>",
    "<h1 class='a'>{}</h1><p>More</p>",
    "<!DOCTYPE html><html><body>{}</body></html>",
    "<script>alert(1)</script>{}",
    "&lt;b&gt;{}&lt;/b&gt;",
    "{}<br/>A second line",
    "&nbsp;{}&#8203;",
    "\u202e{}\u202c",
    "\u2066\u200f{}\u2069",
    "\ufeff\u200b{}\u2060",
    "\x1b{}\x07",
]


@pytest.mark.parametrize("around", AROUND)
def test_what_stands_around_a_title_is_taken_off(around: str) -> None:
    assert of_answer(around.format(PLAIN)) == PLAIN


@pytest.mark.parametrize(
    ("outer", "inner"), list(product(AROUND[1:13], ['**Title:** "{}"', '```json\n{{"title": "{}"}}\n```']))
)
def test_what_stands_around_a_title_may_stand_around_more(outer: str, inner: str) -> None:
    assert of_answer(outer.format(inner.format(PLAIN))) == PLAIN


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n\t",
        "<think>Only this",
        "<think>Only this</think>",
        "<think>One<think>Two",
        "Only this</think>",
        "\u200b\u200d\u2060\ufeff",
        "\u202e\u2066",
        "\u3164\u2800\u115f",
        "\U000e0041\U000e007f",
        "**",
        "# ",
        "---",
        "```\n```",
        '""',
        "“”",
        "Title:",
        "**Title:**",
        "{}",
        '{"title": ""}',
        "<p></p>",
        "&#8203;",
        "\x00\x1b\ud800",
    ],
    ids=ascii,
)
def test_an_answer_of_which_nothing_is_seen_is_no_title(answer: str) -> None:
    assert of_answer(answer) == ""


@pytest.mark.parametrize(
    "title",
    [
        "snake_case and __init__.py",
        "2 * 3 * 4 < 5 & 6 > 1",
        "C# and F#",
        "#5 is broken",
        "Don't panic",
        "Café Zürich 北京 مرحبا",
        "A family: 👩\u200d👧",
        "Love ❤\ufe0f it",
        "With <secret hidden>",
        "Fix [1] and {x}",
        '"One" and "two"',
        "What is a title: a question",
    ],
)
def test_what_belongs_to_a_title_stays(title: str) -> None:
    assert of_answer(title) == title


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


def test_a_given_title_stays_as_it_was_given() -> None:
    assert checked_title(" **Mine**\n <b>\u200d\u202e ") == "**Mine** <b>"


PIECES = [
    *("<think>", "</think>", "<", "</", "<a ", "<!", "<script>", "[", "![a](", "**a", "*", "_a", "`", "~~", '"'),
    *('{"title":', "[[", "&lt;", "Title:", "# ", "> ", "\n", "\n```", "\u200d👩", " ", "a ", "\u0301"),
]


@pytest.mark.parametrize("piece", PIECES, ids=ascii)
def test_an_answer_of_twice_the_length_takes_twice_the_time(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        took: list[float] = []
        for _ in range(3):
            started = time.process_time()
            of_answer(text)
            took.append(time.process_time() - started)
        return min(took)

    # Less than that many seconds is noise.
    assert seconds(400_000) < 3 * seconds(200_000) + 0.02


def test_what_is_visible_is_one_line() -> None:
    assert visible("a\u2028b\x85c\u3000d\te\x00f") == "a b c d ef"


@given(st.text(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_whatever_a_model_answers_the_title_is_a_line_that_can_be_seen(answer: str) -> None:
    title = of_answer(answer)
    assert title == visible(title) == of_answer(title)
    assert title == "" or any(unicodedata.category(character)[0] in "LNS" for character in title)
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in title)
