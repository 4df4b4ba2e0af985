"""What is left of a model's answer as a title, whatever it wrote around it."""

import json
import time
import unicodedata
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.services.lifecycle import title_text
from app.services.lifecycle.title import truncated_title
from app.services.secrets.redaction import Redactor
from app.services.visible_text import visible

SECRET = "sk-live-0123456789"
PIECES = [
    "<think>",
    "</think>",
    "<",
    "</",
    "<a ",
    "<!",
    "<!--",
    "<script>",
    "<foo>",
    "[",
    "![a](",
    "[a](b ",
    "**a",
    "*",
    "*a ",
    "_a",
    "`",
    "```",
    "~~",
    '{"title":',
    "{'title':'",
    "[[",
    '"',
    "&lt;",
    "&#1",
    "Title:",
    "the a ",
    "# ",
    "> ",
    "\n",
    "\n```",
    "\u200d👩",
    "\u200d",
    "\u200b",
    " ",
    "a ",
    "\u0301",
    "<|channel|>",
    "<|channel|>a<|",
]

PLAIN = "Cats and dogs"


def of_answer(answer: str) -> str:
    """The title in an answer, of any length a title may have."""
    return title_text.of_answer(answer, 50)


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
    "\x00{}\ud800",
    (
        "<|channel|>analysis<|message|>One<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>"
        '{{"title": "{}"}}<|return|>'
    ),
    "<|channel>thought\nAs Gemma does.<channel|>{}",
    "<|START_THINKING|>As Cohere does.<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|>",
    "<seed:think>As Seed does.</seed:think>{}",
    "<title>{}</title>",
    "<foo>{}</foo>",
    "Here is a title for the conversation: {}",
    "The title is: **{}**",
    "Sure!\n{}",
    "**{}",
    '"{}',
    "# **{}** #",
    "*Title:* {}",
    "TITLE: {}",
    "`Title: {}`",
    "Title - {}",
    "{{'title': '{}'}}",
    '"{}"\n',
    '{{"title": "\\u201c{}\\u201d", "n": 1',
    'Here is the JSON:\n{{"title": "{}"}}',
    "&amp;lt;b&amp;gt;{}",
    "『{}』",
    '"""{}"""',
    "# Title\n{}",
    "**Title**\n\n{}",
    '"title": "{}"',
    "'Title': '{}'",
    "<svg/onload=alert(1)>{}",
    "<custom-tag a='1'>{}</custom-tag>",
    "<foo bar='1'>{}</foo>",
    "<think/>{}",
    "<reasoning_content>As a proxy does.</reasoning_content>{}",
    "\\*\\*{}\\*\\*",
    "<｜Assistant｜>{}<｜end▁of▁sentence｜>",
    "analysisAs gpt-oss does without marks.assistantfinal{}",
    "Thinking process:\n1. It is about animals.\n\n**Title:** {}",
    "Final answer: {}",
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
        "...",
        "null",
        "?!",
        "<|channel|>analysis<|message|>Only this",
        "[1, 2]",
        "[" * 5000,
        '{"a":' * 5000,
        "<b><i></i></b>",
        "```json\n{}\n```",
    ],
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
        "“One” and “two”",
        "List<String> and Vec<T>",
        "C++ 🎉",
        "می\u200cخواهم",
        "क्\u200dष",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "1\ufe0f\u20e3 first",
        "❤\ufe0f\u200d🔥 fire",
        "Dogs' food",
        "The rock'n'roll '90s",
        "Title case rules",
        "analysis of variance",
        "Sort <T extends Comparable>",
        "What does <secret hidden> do",
        "What is a title: a question",
    ],
)
def test_what_belongs_to_a_title_stays(title: str) -> None:
    assert of_answer(title) == title


@pytest.mark.parametrize(
    "answer",
    [
        SECRET,
        "\u200b".join(SECRET),
        "\u202e".join(SECRET),
        f"{SECRET[:6]}<b>{SECRET[6:]}</b>",
        f"{SECRET[:6]}**{SECRET[6:]}**",
        f"{SECRET[:6]}<think>no</think>{SECRET[6:]}",
        f"{SECRET[:6]}`{SECRET[6:]}`",
        "".join(f"&#{ord(character)};" for character in SECRET),
        "".join(f"&amp;#{ord(character)};" for character in SECRET),
        f'{{"title": "{SECRET[:6]}\\u200b{SECRET[6:]}"}}',
        json.dumps({"title": "".join(f"&#x{ord(character):x};" for character in SECRET)}),
        f"[{SECRET[:6]}](https://example.com){SECRET[6:]}",
        f"{SECRET[:6]}\x00{SECRET[6:]}",
    ],
)
def test_a_secret_stays_hidden_however_it_was_cut_up(answer: str) -> None:
    redactor = Redactor([SecretStr(SECRET)])
    for around in ("{}", "**Title:** {}", '"{}"'):
        title = title_text.of_answer(around.replace("{}", answer), 50, redactor.text)
        assert SECRET[6:] not in title, title
        assert SECRET[:6] not in title, title


def test_a_title_behind_long_reasoning_is_found() -> None:
    assert of_answer("<think>" + "I think. " * 100_000 + f"</think>\n{PLAIN}") == PLAIN
    assert of_answer(f"{PLAIN}\n" + "And more. " * 100_000) == PLAIN
    assert of_answer("Cats " * 100_000) == ("Cats " * 100)[:47].strip() + "..."


def test_a_secret_is_not_shown_in_part_where_a_title_is_cut() -> None:
    redactor = Redactor([SecretStr(SECRET)])
    for before in range(20, 60):
        title = title_text.of_answer("x" * before + " " + "\u200b".join(SECRET), 50, redactor.text)
        assert SECRET[:3] not in title


@pytest.mark.parametrize("piece", PIECES)
def test_an_answer_without_end_takes_no_longer_than_one_that_is_cut(piece: str) -> None:
    def taken(chars: int) -> float:
        started = time.process_time()
        of_answer(piece * (chars // len(piece)))
        truncated_title(piece * (chars // len(piece)))
        return time.process_time() - started

    taken(1000)
    shorter, longer = (min(taken(chars) for _ in range(2)) for chars in (200_000, 400_000))
    assert longer < 3 * shorter + 0.1


HOSTILE = st.one_of(
    st.lists(
        st.sampled_from([*PIECES, "a", "Cats", " ", "\ufe0f", "\u202e", "\x07", "{", "}", ":", "](", ")", "&amp;"])
    ).map("".join),
    st.text(alphabet=st.characters(exclude_categories=())),
)


@given(HOSTILE)
def test_a_title_is_seen_has_no_controls_and_gives_itself(answer: str) -> None:
    for title in (of_answer(answer), truncated_title(answer)):
        assert len(title) <= 50
        assert title == visible(title)
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in title)
        assert title == "" or any(not character.isspace() for character in title)
    assert of_answer(of_answer(answer)) == of_answer(answer)


@given(HOSTILE)
def test_what_is_visible_stays_visible(text: str) -> None:
    assert visible(visible(text)) == visible(text)
