"""Text of which only what is seen is kept."""

import sys
import unicodedata

from app.services.visible_text import visible


def test_no_character_that_is_never_seen_is_missed() -> None:
    # Signs of Arabic, Syriac, Kaithi and Egyptian that Unicode files under formats, but that are drawn.
    drawn = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
    missed = [
        code
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs") and code not in drawn and visible(chr(code))
    ]
    assert missed == []


def test_what_is_visible_is_one_line() -> None:
    assert visible("a\u2028b\x85c\u3000d\te\x00f") == "a b c\u3000d ef"
