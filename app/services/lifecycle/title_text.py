"""What of a text can be a title: what is seen of it, on one line, and what a model wrote around it taken off.

Models put titles into Markdown, quotes, HTML and JSON, call them ``Title:``, think aloud before them, and add a second
line. All of it works in time that grows with the length of the text.
"""

import html
import json
import re
import unicodedata
from typing import cast

MAX_ANSWER_CHARS = 4000
"""Of an answer, behind the reasoning, no more is looked at."""

_MAX_LAYERS = 8
_MAX_JSON_DEPTH = 5
_ZWNJ, _ZWJ = "\u200c", "\u200d"
# Letters without a shape.
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5\u034f\U0001d159")
_BLACK_FLAG = "\U0001f3f4"
_TAGS = range(0xE0020, 0xE0080)
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_MARKS = frozenset({"Mn", "Me", "Mc"})
_SPACES = frozenset({"Zs", "Zl", "Zp"})


def visible(text: str) -> str:
    """What is seen of a text, on one line: without control characters, marks of direction, and what has no width.

    Joiners stay where they join: in emoji, and in words of Persian and of Indian languages.
    """
    kept: list[str] = []
    is_flag = False
    for index, character in enumerate(text):
        kind = unicodedata.category(character)
        if kind in _SPACES or character in "\t\n\v\f\r\x85\x1c\x1d\x1e" or character in _FILLERS:
            kept.append(" ")
        elif character in (_ZWNJ, _ZWJ):
            if kept and kept[-1] not in (" ", _ZWNJ, _ZWJ) and _is_seen(text[index + 1 : index + 2]):
                kept.append(character)
        elif kind in _MARKS:
            # It stands on what comes before it.
            if kept and kept[-1] != " ":
                kept.append(character)
        elif kind not in _UNSEEN or (is_flag and ord(character) in _TAGS):
            kept.append(character)
        is_flag = character == _BLACK_FLAG or (is_flag and ord(character) in _TAGS)
    return " ".join("".join(kept).split())


def shortened(text: str, longest: int, kept: int) -> str:
    """The text where it has at most ``longest`` characters, else its first ``kept`` ones and three dots."""
    return text if len(text) <= longest else visible(text[:kept]) + "..."


def of_answer(answer: str) -> str:
    """The title that a model's answer holds; empty where it holds none."""
    text = _said(_without_reasoning(answer))[:MAX_ANSWER_CHARS]
    for _ in range(_MAX_LAYERS):
        before = text
        text = _peeled(text)
        if text == before:
            break
    return text if _has_word(text) else ""


def _is_seen(character: str) -> bool:
    return bool(character) and unicodedata.category(character) not in _UNSEEN | _SPACES | _MARKS


def _has_word(text: str) -> bool:
    """Whether there is more than punctuation."""
    return any(unicodedata.category(character)[0] in "LNS" for character in text)


# Reasoning: tags of any kind that open it and close it, as models write them that were not told to think aside.
_REASONING = re.compile(
    r"(?:<|&lt;|\[|◁)(/?)(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad|analysis)"
    r"(?:\s[^<>\[\]◁▷]{0,100})?(?:>|&gt;|\]|▷)",
    re.IGNORECASE,
)
_CHANNEL = re.compile(r"<\|channel\|>\s{0,5}([a-z]{1,20})[^<]{0,100}<\|message\|>", re.IGNORECASE)
_MARKER = re.compile(r"<\|[a-z_]{1,30}\|>", re.IGNORECASE)


def _without_reasoning(text: str) -> str:
    kept: list[str] = []
    position, is_inside = 0, False
    for tag in _REASONING.finditer(text):
        if not tag[1]:
            if not is_inside:
                kept.append(text[position : tag.start()])
            is_inside = True
            continue
        if not is_inside:
            # Its beginning was part of the prompt.
            kept.clear()
        position, is_inside = tag.end(), False
    if not is_inside:
        kept.append(text[position:])
    return "".join(kept)


def _said(text: str) -> str:
    """The part for the user, of an answer in the channels of gpt-oss."""
    channels = list(_CHANNEL.finditer(text))
    if channels:
        final = [channel for channel in channels if channel[1].lower() == "final"]
        text = text[final[-1].end() :] if final else ""
        end = _MARKER.search(text)
        text = text[: end.start()] if end else text
    return _MARKER.sub("", text)


def _peeled(text: str) -> str:
    """The text without one layer of what stands around it."""
    text = text.strip().removeprefix("\ufeff")
    within = _json_title(text)
    if within is not None:
        return within
    return _line(_without_html(html.unescape(_unfenced(text))))


_FENCE = re.compile(r"(?:```|~~~)[ \t]{0,5}[\w+-]{0,20}[ \t]{0,5}\n")


def _unfenced(text: str) -> str:
    begun = _FENCE.match(text)
    if begun is None:
        return text
    return text[begun.end() :].partition(text[:3])[0]


_TITLE_FIELD = re.compile(r'"[^"]{0,30}title"\s{0,10}:\s{0,10}"((?:[^"\\]|\\.){0,1000})', re.IGNORECASE)


def _json_title(text: str) -> str | None:
    """The title in a JSON text, also one that breaks off; ``None`` for what is none."""
    if not text.startswith(("{", "[", '"')):
        return None
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):
        field = _TITLE_FIELD.search(text) if text.startswith(("{", "[{")) else None
        return field[1] if field else None
    if text[end:].strip() or isinstance(value, str):
        # Words in quotes, or in brackets, that go on.
        return value if isinstance(value, str) and not text[end:].strip() else None
    return _title_of(value, 0) or ""


def _title_of(value: object, depth: int) -> str | None:
    if depth > _MAX_JSON_DEPTH:
        return None
    match value:
        case str():
            return value
        case list():
            return next(filter(None, (_title_of(item, depth + 1) for item in cast("list[object]", value))), None)
        case dict():
            fields = cast("dict[str, object]", value)
            named = [item for name, item in fields.items() if "title" in name.lower()]
            return next(filter(None, (_title_of(item, depth + 1) for item in (named or fields.values()))), None)
        case _:
            return None


_BLOCK = re.compile(
    r"</?(?:br|p|div|h[1-6]|li|ul|ol|tr|table|blockquote|section|article)(?:\s[^<>]{0,300})?/?>", re.IGNORECASE
)
_UNSHOWN = re.compile(r"<(script|style|head)(?:\s[^<>]{0,300})?>.{0,2000}?</\1\s?>", re.IGNORECASE | re.DOTALL)
_INLINE = re.compile(
    r"<(?:!--[^<>]{0,1000}--|!doctype[^<>]{0,200}|/?(?:html|body|title|b|i|u|s|em|strong|small|mark|span|code|pre|font"
    r"|a|sub|sup|center|answer|output|response|result|final)(?:\s[^<>]{0,300})?/?)>",
    re.IGNORECASE,
)


def _without_html(text: str) -> str:
    return _INLINE.sub("", _BLOCK.sub("\n", _UNSHOWN.sub("", text)))


_LINE_END = re.compile("[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_PREFACE = re.compile(
    r"(?:(?:sure|okay|ok|certainly|of course|great|here|the|a|my|this|suggested|possible|proposed)\b"
    r"[^:\n]{0,60}\btitle\b[^:\n]{0,40}|(?:conversation|chat|suggested)?\s?(?:title|titel|titre|título|titulo|titolo"
    r"|заголовок|название|标题|題名|标题名|タイトル|제목))\s{0,3}[:：]\s{0,5}",
    re.IGNORECASE,
)
_LEADING = re.compile(r"(?:#{1,6}\s+|>\s{0,3}|[-*+•]\s+(?:\[[ xX]\]\s+)?|\d{1,2}[.)]\s+)")
_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()]{0,1000}\)")
_EMPHASIS = re.compile(r"(?<![\w*~`])(\*{1,3}|~~|`{1,3})(?=[^\s*~`])([^*~`]{0,500})(?<=[^\s*~`])\1(?![\w*~`])")
_WHOLE_EMPHASIS = re.compile(r"(_{1,3})(?=[^\s_])(.{0,500})(?<=[^\s_])\1")
_QUOTES = {
    '"': '"',
    "'": "'",
    "`": "`",
    "“": "”",
    "‘": "’",
    "«": "»",
    "‹": "›",
    "„": "“",
    "‚": "‘",
    "»": "«",
    "”": "”",
    "「": "」",
    "『": "』",
    "《": "》",
    "〈": "〉",
    "【": "】",
    "＂": "＂",
}


def _line(text: str) -> str:
    """The first line that says something, without Markdown and quotes around it; all lines that stand in quotes."""
    text = text.strip()
    if _is_quoted(text):
        text = visible(text)
    return next(filter(_has_word, (_plain(visible(line)) for line in _LINE_END.split(text))), "")


def _plain(line: str) -> str:
    for _ in range(_MAX_LAYERS):
        before = line
        line = _LINK.sub(r"\1", line)
        line = _EMPHASIS.sub(r"\2", line)
        whole = _WHOLE_EMPHASIS.fullmatch(line)
        line = whole[2] if whole else line
        line = _LEADING.sub("", line, count=1) if _LEADING.match(line) else line
        preface = _PREFACE.match(line)
        line = line[preface.end() :] if preface else line
        line = _unquoted(line).strip().lstrip("*~").rstrip("*~").strip()
        if line == before:
            break
    return line


def _unquoted(line: str) -> str:
    """Without the quotes around all of it, and one that was opened or closed alone."""
    if _is_quoted(line):
        return line[1:-1]
    for mark in '"“”«»':
        if line.count(mark) == 1 and (line.startswith(mark) or line.endswith(mark)) and not _has_pair(line, mark):
            return line.strip(mark)
    return line


def _is_quoted(text: str) -> bool:
    if len(text) < 2 or _QUOTES.get(text[0]) != text[-1]:  # noqa: PLR2004  One mark can't stand on both sides.
        return False
    return text[0] not in text[1:-1] and text[-1] not in text[1:-1]


def _has_pair(line: str, mark: str) -> bool:
    return any(
        opening in line and closing in line
        for opening, closing in _QUOTES.items()
        if mark in (opening, closing) and opening != closing
    )
