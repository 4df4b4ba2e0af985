"""In which shape a client wants its answer: the ``Accept`` header, read as RFC 9110 has it."""

import re
from dataclasses import dataclass
from functools import lru_cache

JSON_TYPE = "application/json"
RESPONSE_TYPE = "application/graphql-response+json"
EVENT_STREAM_TYPE = "text/event-stream"
MULTIPART_TYPE = "multipart/mixed"
# By which Apollo's clients ask for subscriptions; without it they mean parts of one deferred answer.
MULTIPART_VERSION = "1.0"
MAX_RANGES = 50
# Clients of one kind all send the same.
REMEMBERED_LENGTH = 200

_WEIGHT = re.compile(r"[01](\.[0-9]{0,3})?")
_PREFERENCE = (JSON_TYPE, RESPONSE_TYPE)
_ANY = {"*/*", "application/*"}


@dataclass(frozen=True, slots=True)
class Acceptable:
    """What a client takes: ``single`` for one result, ``stream`` for a stream of them; ``None`` where it takes none."""

    single: str | None
    stream: str | None

    @classmethod
    def read(cls, accept: str) -> "Acceptable":
        """Without the header everything is acceptable, and one result is JSON."""
        return _read(accept) if len(accept) <= REMEMBERED_LENGTH else cls.parsed(accept)

    @classmethod
    def parsed(cls, accept: str) -> "Acceptable":
        """As ``read``, each time anew."""
        ranks = _ranks(accept or "*/*")
        any_rank = max((rank for name, rank in ranks.items() if name in _ANY), default=0.0)
        singles = {name: ranks.get(name, 0.0) for name in _PREFERENCE}
        # Of two that are as welcome the newer one is answered, unless it was not named.
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
    """The weight of each type that is named. Of ``multipart/mixed`` only the kind that subscriptions use counts."""
    ranks: dict[str, float] = {}
    for item in accept.lower().split(",")[:MAX_RANGES]:
        name, *rest = (part.strip() for part in item.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        if name == MULTIPART_TYPE and parameters.get("subscriptionspec", "").strip('"') != MULTIPART_VERSION:
            continue
        weight = parameters.get("q", "1")
        ranks[name] = max(ranks.get(name, 0.0), float(weight) if _WEIGHT.fullmatch(weight) else 1.0)
    return ranks
