"""Validation of tags."""

from collections.abc import Sequence
from unicodedata import normalize

from app.errors import InvalidInput
from app.models.tag import TAG_MAX_LENGTH, fold_tag
from app.services.visible_text import visible

MAX_TAGS = 20
"""Tags of one conversation, and of one change to it."""
MAX_FILTER_TAGS = 10


def checked_tags(names: Sequence[str], *path: str, limit: int = MAX_TAGS) -> dict[str, str]:
    """Return tags as they are shown, by their folded form. The first spelling of a tag counts.

    Raises InvalidInput for too many tags, and for one that is blank, too long, or has characters that can't be seen.
    """
    if len(names) > limit:
        raise InvalidInput(f"At most {limit} tags; these are {len(names)}.", path=path)
    checked = [_checked(name, *path, str(number)) for number, name in enumerate(names)]
    return {fold_tag(name): name for name in reversed(checked)}


def _checked(name: str, *path: str) -> str:
    # A far longer one is not normalised first.
    tag = normalize("NFC", name.strip()) if len(name) <= 10 * TAG_MAX_LENGTH else name
    if len(tag) > TAG_MAX_LENGTH:
        raise InvalidInput(f"A tag has at most {TAG_MAX_LENGTH} characters; this one has {len(tag)}.", path=path)
    if not tag:
        raise InvalidInput("A tag has at least one character.", path=path)
    if visible(tag) != tag:
        raise InvalidInput("A tag is one line without invisible characters.", path=path)
    return tag
