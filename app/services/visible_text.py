"""Removes invisible characters from text, and those that change how the rest is displayed, in linear time."""

import re
import unicodedata

PIECE_CHARS = 1000


def visible(text: str) -> str:
    """Return the text on one line without invisible and formatting characters; "" if nothing is left.

    Joiners and variation selectors stay where they matter: in emoji, and in words of scripts such as Persian and Hindi.
    Spaces inside stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    return on_one_line(seen(text))


def beginning(text: str, max_length: int) -> str:
    """Return the first visible characters on one line: at least ``max_length`` + 1, if there are as many.

    It reads no more of the text than that takes.
    """
    read = ""
    for start in range(0, len(text), PIECE_CHARS):
        read += _LINE_BREAKS.sub(" ", seen(text[start : start + PIECE_CHARS]))
        line = " ".join(read.split())
        if len(line) > max_length:
            return line
        read = line + " " if read[-1:].isspace() and line else line
    return read.strip()


def shortened(text: str, max_length: int, kept: int) -> str:
    """Return the text, or if it is longer than ``max_length``, its first ``kept`` characters and an ellipsis."""
    return text if len(text) <= max_length else visible(text[:kept]) + "..."


def is_picture(character: str) -> bool:
    """Tell whether it is a symbol such as an emoji, or may be one that is newer than Python's Unicode tables."""
    return unicodedata.category(character) in ("So", "Co", "Cn")


def seen(text: str) -> str:
    """Remove invisible characters, but keep line breaks."""
    if text.isascii() and text.isprintable():
        return text
    return _JOINING.sub(_joined, _NEVER_SEEN.sub(lambda match: match["flag"] or "", text))


def on_one_line(text: str) -> str:
    """Replace line breaks, and letters that look like a space, by spaces; expects the result of ``seen``."""
    return _LINE_BREAKS.sub(" ", text).strip(_BLANK)


def _joined(run: re.Match[str]) -> str:
    """Reduce a run of joiners and variation selectors to those that matter between its neighbours, one of each."""
    text, start, end = run.string, run.start(), run.end()
    before = text[start - 1] if start else " "
    following = text[end] if end < len(text) else " "
    if before in _BLANK or before.isspace():
        return ""
    selector = run[0][0] if run[0][0] not in _JOINERS and not before.isascii() else ""
    if not selector and before in "0123456789#*" and following == "\u20e3":
        selector = run[0][0] if run[0][0] == "\ufe0f" else ""
    joiner = next((character for character in run[0] if character in _JOINERS), "")
    in_word = _is_shaped(before) and (_is_shaped(following) or joiner == "\u200d")
    in_emoji = joiner == "\u200d" and _is_emoji(before) and _is_emoji(following)
    return selector + (joiner if in_word or in_emoji else "")


def _is_shaped(character: str) -> bool:
    """Tell whether the character belongs to a script in which joiners choose the shape of letters."""
    return unicodedata.category(character)[0] in "LM" and _SHAPED.match(character) is not None


def _is_emoji(character: str) -> bool:
    return is_picture(character) or "\U0001f3fb" <= character <= "\U0001f3ff" or character == "\u20e3"


_BLANK = " \t\n\r\f\v\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_JOINERS = "\u200c\u200d"
_LINE_BREAKS = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+|[\u115f\u1160\u2800\u3164\uffa0]")
# Control characters, surrogates, noncharacters, and Unicode's default ignorable and format characters, except the
# visible Arabic and Egyptian signs among those. Tag characters stay in flags such as that of England.
_NEVER_SEEN = re.compile(
    "(?P<flag>\U0001f3f4[\U000e0030-\U000e007a]{2,8}\U000e007f)"
    "|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\ufdd0-\ufdef\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000))
    + "]+"
)
_JOINING = re.compile("[\u180b-\u180d\u180f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
_SHAPED = re.compile(
    "[\u0600-\u109f\u1700-\u18af\u1900-\u1cff\ua800-\uabff\ufb50-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff"
    "\U0001e900-\U0001e95f]"
)
