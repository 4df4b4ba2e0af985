"""Content negotiation by the ``Accept`` header (RFC 9110): the media types of single and streamed responses."""

import re
from dataclasses import dataclass
from functools import lru_cache

JSON_TYPE = "application/json"
RESPONSE_TYPE = "application/graphql-response+json"
EVENT_STREAM_TYPE = "text/event-stream"
MULTIPART_TYPE = "multipart/mixed"
# The version in Apollo's Accept header for subscriptions; without it, multipart means ``@defer``.
MULTIPART_VERSION = "1.0"
MAX_RANGES = 50
# Longest Accept header that is cached; clients of one type all send the same one.
REMEMBERED_LENGTH = 200

_WEIGHT = re.compile(r"[01](\.[0-9]{0,3})?")
_PREFERENCE = (JSON_TYPE, RESPONSE_TYPE)
_ANY = {"*/*", "application/*"}


@dataclass(frozen=True, slots=True)
class Acceptable:
    """Accepted media types: ``single`` for one result, ``stream`` for a stream of results; ``None`` if not accepted."""

    single: str | None
    stream: str | None

    @classmethod
    def read(cls, accept: str) -> "Acceptable":
        """Parse the header, with a cache. Without the header everything is accepted, and a single result is JSON."""
        return _read(accept) if len(accept) <= REMEMBERED_LENGTH else cls.parsed(accept)

    @classmethod
    def parsed(cls, accept: str) -> "Acceptable":
        """Like ``read``, without the cache."""
        ranks = _ranks(accept or "*/*")
        any_rank = max((rank for name, rank in ranks.items() if name in _ANY), default=0.0)
        singles = {name: ranks.get(name, 0.0) for name in _PREFERENCE}
        # If two types have the same weight, the newer one is used, unless it was not named.
        single = max(reversed(_PREFERENCE), key=singles.__getitem__)
        if not singles[single]:
            single = JSON_TYPE if any_rank and JSON_TYPE not in ranks else None
        streams = {name: ranks.get(name, 0.0) for name in (EVENT_STREAM_TYPE, MULTIPART_TYPE)}
        stream = max(streams, key=streams.__getitem__)
        return cls(single, stream if streams[stream] else None)


@lru_cache(maxsize=256)
def _read(accept: str) -> Acceptable:
    return Acceptable.parsed(accept)


def _ranks(accept: str) -> dict[str, float]:
    """Return the weight of each named type. ``multipart/mixed`` only counts with Apollo's subscription parameter."""
    ranks: dict[str, float] = {}
    for item in accept.lower().split(",")[:MAX_RANGES]:
        name, *rest = (part.strip() for part in item.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        if name == MULTIPART_TYPE and parameters.get("subscriptionspec", "").strip('"') != MULTIPART_VERSION:
            continue
        weight = parameters.get("q", "1")
        ranks[name] = max(ranks.get(name, 0.0), float(weight) if _WEIGHT.fullmatch(weight) else 1.0)
    return ranks
