"""Extracts a title from a model's answer: one visible line, without reasoning, markup, quotes or JSON around it.

All of it takes linear time: long texts are cut before regular expressions that could take longer, and passes over the
text are repeated until nothing changes, a bounded number of times.
"""

import html
import json
import re
import unicodedata
from collections import deque
from collections.abc import Callable

from app.services.secrets.redaction import JSONValue
from app.services.visible_text import is_picture, on_one_line, seen, shortened

ANSWER_CHARS = 16_000
"""Characters that are read at the beginning and at the end of an answer: after long reasoning the title comes last."""
LINE_CHARS = 300
MAX_LINES = 30
MAX_PASSES = 20

Redact = Callable[[str], str]


def of_answer(answer: str, max_length: int, redact: Redact = str) -> str:
    """Extract the title from a model's answer, with at most ``max_length`` characters; "" if there is none.

    ``redact`` hides secrets. It runs again after each step, since removing text can join two halves of a secret. The
    function is idempotent.
    """
    title = redact(seen(_ends(redact(answer))))
    for _ in range(MAX_PASSES):
        before = title
        title = redact(_pass(title))
        if title == before:
            title = shortened(title, max_length, max_length - 3)
            if title == before:
                return title if _says_something(title) else ""
    return ""


def _pass(text: str) -> str:
    """Remove one layer of everything that may surround a title: labels, markup, quotes."""
    text = without_reasoning(_unescaped(seen(text)))
    text = _without_tags(_without_fences(text).strip())
    held = _from_json(text)
    if held is not None:
        return held
    unquoted = _unquoted(text)
    lines = [_cut(line, LINE_CHARS) for line in unquoted.splitlines() if line.strip()][:MAX_LINES]
    if unquoted != text:
        lines = [_cut(" ".join(lines), LINE_CHARS)]
    if lines and _is_announcement(_of_line(lines[0])):
        lines = [line for line in lines if _LABEL.match(_of_line(line, keeps_label=True))] or lines
    for number, line in enumerate(lines):
        is_last = number == len(lines) - 1
        title = _of_line(line)
        if _says_something(title) and (is_last or not _is_announcement(title)):
            return title
    return ""


def _of_line(line: str, *, keeps_label: bool = False) -> str:
    line = on_one_line(line)
    marked = _MARKER.sub("", line)
    if marked != line and line.startswith("#"):
        # In Markdown a heading may be closed by "#" signs.
        bare = marked.rstrip("#")
        marked = bare.rstrip() if bare != bare.rstrip() else marked
    line = _LINK.sub(r"\1", marked)
    line = _AUTOLINK.sub(r"\1", line)
    for emphasis in _EMPHASIS:
        line = emphasis.sub(r"\2", line)
    line = _UNDERSCORED.sub(lambda match: match[2] if _is_emphasis(match, line) else match[0], line)
    line = _UNPAIRED.sub("", line)
    line = _ESCAPED.sub(r"\1", line)
    if not keeps_label:
        line = _LABEL.sub("", line, count=1)
    return " ".join(_unquoted(line.strip()).split())


def _is_emphasis(match: re.Match[str], line: str) -> bool:
    """Tell emphasis from names such as ``__init__``: it covers the whole line, or several words."""
    return match[0] == line or " " in match[2]


def _is_announcement(line: str) -> bool:
    return line.endswith((":", "\uff1a")) or _ANNOUNCEMENT.fullmatch(line) is not None


def _says_something(title: str) -> bool:
    return title not in _NOTHING and any(
        unicodedata.category(character)[0] in "LN" or is_picture(character) for character in title
    )


def _cut(text: str, max_chars: int) -> str:
    """Cut after a whole word, since half a secret would not be recognised for redaction."""
    if len(text) <= max_chars:
        return text
    cut = text[:max_chars]
    words = cut.rsplit(maxsplit=1)
    return words[0] if len(words) > 1 and not cut[-1].isspace() and not text[max_chars].isspace() else cut


def _ends(text: str) -> str:
    if len(text) <= 2 * ANSWER_CHARS:
        return text
    words = text[-ANSWER_CHARS:].split(maxsplit=1)
    return _cut(text, ANSWER_CHARS) + "\n" + (words[1] if len(words) > 1 else "")


# ---- Reasoning


def without_reasoning(text: str) -> str:
    """Remove reasoning in all known notations.

    An end mark without a beginning removes everything before it; a begin mark without an end, everything after it.
    """
    if text.lstrip().startswith(("analysis", _FINAL)):
        # The names of gpt-oss's channels, which remain as words when a server drops the marks around them.
        text = text.rpartition(_FINAL)[2]
    if not _REASONING.search(text):
        return text
    spoken: list[str] = []
    position, is_inside = 0, False
    for mark in _REASONING.finditer(text):
        if not is_inside:
            spoken.append(text[position : mark.start()])
        position = mark.end()
        if mark["close"] is not None:
            if not is_inside and spoken:
                spoken[-1] = ""
            is_inside = False
        elif mark["open"] is not None:
            is_inside = True
        elif mark["channel"] is not None:
            is_inside = mark["channel"].strip().casefold() not in ("final", "response", "answer")
    if not is_inside:
        spoken.append(text[position:])
    return "".join(spoken)


_FINAL = "assistantfinal"
_THOUGHTS = (
    r"(?:think|thinking|thinks|thought|thoughts|reason|reasoning|reflection|reflect|analysis|scratchpad|deliberation"
    r"|rationale|internal_monologue|inner_monologue|monologue|chain_of_thought|cot)(?:[_-]\w{1,20})?"
)
_REASONING = re.compile(
    rf"(?P<close></\s?(?:\w{{1,20}}:)?{_THOUGHTS}\s?>|\[/(?:THINK|REASONING)\]|◁/think▷"
    r"|<\|?(?:end_of_thought|end_thinking|END_THINKING|/think|/thinking|/thought)\|?>|<channel\|>)"
    rf"|(?P<open><(?:\w{{1,20}}:)?{_THOUGHTS}(?:\s[^<>]*)?>|\[(?:THINK|REASONING)\]|◁think▷"
    r"|<\|?(?:begin_of_thought|start_thinking|START_THINKING|think|thinking|thought)\|>)"
    r"|<\|?channel\|?>(?P<channel>\s{0,9}\w{1,20})(?:[^<>\n]{0,99}<\|constrain\|>\w{0,20})?(?:[^<>\n]{0,99}<\|message\|>)?"
    rf"|(?P<other><{_THOUGHTS}\s?/>|<\|[\w-]{{1,30}}\|>(?:assistant\b)?|<｜[^<>｜]{{1,40}}｜>)",
    re.IGNORECASE,
)


# ---- Markup


def _unescaped(text: str) -> str:
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), text) if "&" in text else text


def _without_tags(text: str) -> str:
    wrapped = _WRAPPED.match(text)
    if wrapped is not None:
        inner, close, rest = text[wrapped.end() :].rpartition(f"</{wrapped[1]}>")
        text = inner if close and not rest else text
    text = _SCRIPT.sub(" ", text)
    text = _BREAK.sub("\n", text)
    return _TAG.sub("", text)


def _without_fences(text: str) -> str:
    if not ("```" in text or "~~~" in text):
        return text
    text = "\n".join(line for line in text.splitlines() if not _FENCE.fullmatch(line.strip()))
    return _FENCED.sub("", text.strip())


# Longer numbers are not code points, and Python refuses to parse very long ones.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Only names that HTML knows or that models put around an answer: `List<String>` and `<secret hidden>` are text.
_NAMES = (
    "a|abbr|address|answer|article|aside|audio|b|base|big|blockquote|body|button|center|cite|code|conversation_title"
    "|dd|del|details|dfn|div|dl|dt|em|embed|figcaption|figure|final|final_answer|font|footer|form|h[1-6]|head|header"
    "|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|meta|nav|object|ol|output|p|pre|q|response|result|s"
    "|samp|script|section|small|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead"
    "|title|tr|u|ul|var|video"
)
_TAG = re.compile(
    rf"</?(?:{_NAMES})(?:[\s/][^<>]*)?>|</?[a-z]\w*-[\w-]*(?:[\s/][^<>]*)?>|<[a-z]\w*\s+[\w-]+\s?=[^<>]*>|<!--[^<>]{{0,2000}}-->|<![a-z][^<>]*>",
    re.IGNORECASE,
)
_BREAK = re.compile(
    r"<br\s?/?>|</(?:p|div|h[1-6]|li|tr|title|head|blockquote|pre|section|answer)\s?>|<hr\s?/?>", re.IGNORECASE
)
_SCRIPT = re.compile(r"<(script|style)\b[^<>]*>[^<]{0,2000}</\1\s?>", re.IGNORECASE)
_WRAPPED = re.compile(r"<([A-Za-z][\w.-]{0,40})(?:\s[\w-]{1,40}\s?=[^<>]*)?>")
_FENCE = re.compile(r"(?:`{3,}|~{3,})[\w+.-]*")
_FENCED = re.compile(r"^(?:```|~~~)(?:json|text|markdown|md|plaintext|txt)?(?=[\s{\[])|(?:```|~~~)$", re.IGNORECASE)
_MARKER = re.compile(r"^(?:#{1,6}(?=\s)|#{2,6}(?=\w)|>(?=\s|\w)|[-*+•‣◦](?=\s)|\d{1,3}[.)](?=\s)|\[[ xX]\](?=\s)|\s)+")
_LINK = re.compile(
    r"!?\[([^\[\]]*)\](?:\((?:<[^<>]*>|(?:[^()\s]|\([^()\s]*\))*)(?:\s{1,9}\"[^\"]*\")?\s?\)|\[[^\[\]]*\])"
)
_AUTOLINK = re.compile(r"<(https?://[^<>\s]*)>", re.IGNORECASE)
_EMPHASIS = (
    re.compile(r"(?<!\\)(`{1,3})(?=[^\s`])(.*?)(?<=[^\s`\\])\1"),
    re.compile(r"(?<!\\)(\*{1,3})(?=[^\s*])(.*?)(?<=[^\s*\\])\1"),
    re.compile(r"(?<!\\)(~~)(?=[^\s~])(.*?)(?<=[^\s~\\])\1"),
)
_UNDERSCORED = re.compile(r"(?<![\w\\])(_{1,3})(?=[^\s_])(.*?)(?<=[^\s_\\])\1(?![\w_])(?![.(]\w)")
# A mark whose partner was cut off by the limit on the answer's length.
_UNPAIRED = re.compile(r"^(?:\*{2,3}|~~|`{1,3})(?=[^\s*~`])|(?<=[^\s*~`])(?:\*{2,3}|~~|`{1,3})$")
_KIND = r"(?:(?:conversation|chat|suggested|proposed|generated|final|short|concise|new|possible|the|a|my)\s){0,4}"
_TITLE = (
    r"(?:title|titel|titre|título|titulo|titolo|titul|tytuł|titlu|otsikko|başlık|заголовок|название|τίτλος|عنوان|शीर्षक"
    r"|标题|標題|题目|タイトル|題名|제목)"
)
_LABEL = re.compile(
    rf"^(?:{_KIND}{_TITLE}\s?[:\uff1a]"
    rf"|[\"']{_KIND}{_TITLE}[\"']\s?[:\uff1a]"
    r"|final\sanswer\s?[:\uff1a]"
    rf"|{_KIND}{_TITLE}\s[-–—]\s"
    r"|(?:(?:sure|okay|ok|certainly|of course|absolutely)[!,.]?\s)?"
    r"(?:here(?:['’]s|\sis)|(?:the|a|my)\s(?:\w+\s){0,3}title)\b[^:\uff1a]{0,80}"
    r"(?:(?<=title)|(?<=title\sis)|(?<=\sbe)|(?<=conversation)|(?<=message)|(?<=chat)|(?<=characters))[:\uff1a])",
    re.IGNORECASE,
)
_ANNOUNCEMENT = re.compile(
    rf"(?:sure|okay|ok|certainly|of course|absolutely)(?: thing)?[!.,]?|{_KIND}{_TITLE}", re.IGNORECASE
)
_ESCAPED = re.compile(r"\\([*_`#~\"'>\[\]])")
# Words by which programs express that there is no title.
_NOTHING = ("null", "None", "undefined", "NaN")


# ---- Quotes


def _unquoted(text: str) -> str:
    """Remove all pairs of quotes around the text."""
    start, end = 0, len(text)
    while end - start > 1 and (text[start], text[end - 1]) in _QUOTES:
        if not _is_pair(text, start, end):
            break
        start, end = start + 1, end - 1
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
    left = text[start:end]
    if left[:1] in _LONE_QUOTES and not any(quote in left[1:] for quote in _LONE_QUOTES):
        return left[1:]
    if left[-1:] in _LONE_QUOTES and not any(quote in left[:-1] for quote in _LONE_QUOTES) and left[-2:-1].isalpha():
        return left[:-1]
    return left


def _is_pair(text: str, start: int, end: int) -> bool:
    """Tell whether the quotes at both ends are a pair, which they are not in ``"One" and "two"``."""
    opening, closing = text[start], text[end - 1]
    for position in range(start + 1, min(end - 1, start + LINE_CHARS)):
        if text[position] not in (opening, closing):
            continue
        before, after = text[position - 1], text[position + 1]
        if before.isalnum() and after.isalnum():
            continue
        if opening != closing:
            return text[position] == opening
        is_closing = before.isalnum() or (unicodedata.category(before) in ("Po", "Pe") and before != closing)
        return not is_closing or after == closing
    return True


_LONE_QUOTES = tuple('"“”„«»')
# Pairs of opening and closing quotes, one above the other.
_QUOTES = frozenset(zip("\"'`“‘«„„‚‚”’»‹›「『《〈〝〝＂＇`´", "\"'`”’»“”‘’”’«›‹」』》〉〞〟＂＇'´", strict=True))


# ---- JSON


def _from_json(text: str) -> str | None:
    """Return the title in an answer that is JSON, even if the JSON was cut off; ``None`` if it is not JSON."""
    if text[:1] in ("{", "[", '"'):
        try:
            value: JSONValue = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            pass
        else:
            return _title_in(value)
    field = _FIELD.search(text)
    if field is None:
        return "" if _OBJECT.match(text) else None
    try:
        return str(json.loads(f'"{field[2]}"', strict=False))
    except ValueError:
        return field[2].replace('\\"', '"').replace("\\'", "'")


def _title_in(value: JSONValue) -> str:
    """Return the value of the key for the title, else the first string value."""
    first = ""
    waiting: deque[JSONValue] = deque([value])
    while waiting:
        current = waiting.popleft()
        if isinstance(current, str):
            first = first or current
        elif isinstance(current, dict):
            for key, item in current.items():
                if isinstance(item, str) and _KEY.fullmatch(key.strip()):
                    return item
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)
    return first


_OBJECT = re.compile(r"\{\s{0,99}[\"']\w")
_KEY = re.compile(r"(?:\w{1,20}[_ -]?)?title", re.IGNORECASE)
_FIELD = re.compile(
    r"^\s{0,99}[\[{][\s\[{]{0,99}[\"'](?:\w{1,20}[_ -]?)?title[\"']\s{0,9}:\s{0,9}([\"'])((?:\\.|(?!\1)[^\\\n])*)",
    re.IGNORECASE | re.MULTILINE,
)
