"""Repairs token counts, as real servers send them, so that litellm can add them up.

They come as strings, fractions, negative, as NaN, and larger than any column; under names that end in ``tokens``, or in
Google's format in ``TokenCount``. litellm checks some of them and computes with all, so that one odd count would end
an answer that is complete.
"""

import math
from typing import Any, TypeAlias, cast

JSON: TypeAlias = dict[str, Any]
MAX_COUNT = 2**53 - 1
MAX_DIGITS = 40
_COUNTS = ("tokens", "TokenCount", "tokenCount")
_USAGES = ("usage", "usageMetadata")
_DETAILS = "_details"
_GOOGLE_DETAILS = "Details"
# Fields beside the counts whose types litellm requires.
_FORMS: dict[str, type] = {"server_tool_use": dict, "inference_geo": str, "speed": str}
_MAX_DEPTH = 5
_TOTALS = ("prompt_tokens", "completion_tokens", "total_tokens")


def checked_count(value: object) -> int | None:
    """Convert a provider's token count to an int from 0 to 2**53 - 1; ``None`` if it is not a number."""
    if isinstance(value, str) and len(value) <= MAX_DIGITS:
        try:
            value = float(value)
        except ValueError:
            return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and math.isnan(value))
    ):
        return None
    return int(min(max(value, 0), MAX_COUNT))


def repair_usage(usage: JSON) -> bool:
    """Repair the usage of an answer in OpenAI's format in place; return whether it was changed."""
    totals = [name for name in _TOTALS if name in usage]
    is_changed = repair_counts(usage)
    for name in totals:
        # litellm computes with all fields, so missing ones get 0.
        usage.setdefault(name, 0)
    for name in [name for name in usage if name.endswith(_DETAILS)]:
        details = usage[name]
        if isinstance(details, dict):
            is_changed = _cap(cast("JSON", details), usage.get(name.removesuffix(_DETAILS))) or is_changed
        elif details is not None:
            del usage[name]
            is_changed = True
    for name in [name for name, form in _FORMS.items() if not isinstance(usage.get(name), form | None)]:
        del usage[name]
        is_changed = True
    used = usage.get("server_tool_use")
    if isinstance(used, dict) and not all(type(count) is int for count in cast("JSON", used).values()):
        del usage["server_tool_use"]
        is_changed = True
    if "cost" in usage and not _is_price(usage["cost"]):
        del usage["cost"]
        is_changed = True
    return is_changed


def repair_foreign_usage(event: JSON) -> bool:
    """Repair an event of Anthropic's or Google's format in place; return whether it was changed."""
    is_changed = False
    for holder in (event, event.get("message"), event.get("response")):
        if not isinstance(holder, dict):
            continue
        fields = cast("JSON", holder)
        for name in _USAGES:
            if name not in fields:
                continue
            usage = fields[name]
            if isinstance(usage, dict):
                is_changed = _repair_details(cast("JSON", usage)) or is_changed
                is_changed = repair_counts(cast("JSON", usage)) or is_changed
            else:
                fields[name] = {}
                is_changed = True
    return is_changed


def _repair_details(usage: JSON) -> bool:
    """Repair Google's lists of token counts by type, over which litellm iterates."""
    is_changed = False
    for name in [name for name in usage if name.endswith(_GOOGLE_DETAILS)]:
        details = usage[name]
        detail_list = cast("list[object]", details) if isinstance(details, list) else []
        parts = [cast("JSON", part) for part in detail_list if isinstance(part, dict)]
        kept = [part for part in parts if isinstance(part.get("modality"), str)]
        if not isinstance(details, list) or len(kept) != len(detail_list):
            usage[name] = kept
            is_changed = True
    return is_changed


def repair_counts(usage: JSON, depth: int = 0) -> bool:
    """Repair all counts in place: remove those that are not numbers, and anything that nests too deep."""
    is_changed = False
    if depth > _MAX_DEPTH:
        is_changed = bool(usage)
        usage.clear()
    for name, value in list(usage.items()):
        if name.endswith(_COUNTS):
            if type(value) is int and 0 <= value <= MAX_COUNT:
                continue
            count = checked_count(value)
            if count is None:
                del usage[name]
            else:
                usage[name] = count
            is_changed = True
        elif isinstance(value, dict):
            is_changed = repair_counts(cast("JSON", value), depth + 1) or is_changed
        elif isinstance(value, list):
            for part in cast("list[object]", value):
                if isinstance(part, dict):
                    is_changed = repair_counts(cast("JSON", part), depth + 1) or is_changed
    return is_changed


def _cap(details: JSON, total: int | None) -> bool:
    """Cap the parts of a total at the total, since otherwise more tokens would be priced than there were."""
    exceeding = [name for name, count in details.items() if name.endswith(_COUNTS) and count > (total or 0)]
    for name in exceeding:
        details[name] = total or 0
    return bool(exceeding)


def _is_price(value: object) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(cast("float", value)))
