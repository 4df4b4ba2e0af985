"""Limits on a request's body while it arrives: the framing of its chunks, its rate and its time."""

from app.endpoints.connections import ConnectionLimits
from app.endpoints.uvicorn.refusal import MALFORMED

# The interval in which a body's rate is measured.
LOOK_SECONDS = 5.0
# Limits on the framing of a chunked body (sizes, extensions, trailers): at once, and in proportion to the body.
_FREE_FRAMING_BYTES = 16 * 1024
_FRAMING_PER_BYTE = 0.25
# Each chunk costs a call in Python, so bodies with a higher proportion of framing are processed in turns.
_MUCH_FRAMING_PER_BYTE = 0.01


class BodyBounds:
    """Counts the bytes of one body after another. ``size`` is that of the current body so far.

    ``since`` is the time at which the body began, later by the time in which the server did not read.
    """

    __slots__ = ("_framing_at_once", "_framing_bytes", "_is_long", "_limits", "_window", "since", "size")

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self.start(0.0)

    def start(self, now: float) -> None:
        """Reset the counts for the next body."""
        self.since = now
        self.size = self._framing_bytes = 0
        # Bytes of framing since the last byte of the body.
        self._framing_at_once = 0
        # Start of the current interval of measuring the rate, and the body's size then.
        self._window = (now, 0)
        self._is_long = False

    @property
    def has_much_framing(self) -> bool:
        """Tell whether parsing the body is expensive, since its chunks are small."""
        return self._framing_bytes > _MUCH_FRAMING_PER_BYTE * self.size

    def expect_long_body(self) -> None:
        """Lift the limit on the body's time, but not that on its rate."""
        self._is_long = True

    def count_framing(self, read_bytes: int, body_bytes: int) -> None:
        """Count what was read, of which ``body_bytes`` belong to the body. Raises Refusal for too much framing."""
        self._framing_bytes += read_bytes - body_bytes
        self._framing_at_once = 0 if body_bytes else self._framing_at_once + read_bytes
        if (
            self._framing_at_once > _FREE_FRAMING_BYTES
            or self._framing_bytes > _FREE_FRAMING_BYTES + _FRAMING_PER_BYTE * self.size
        ):
            raise MALFORMED

    def seconds_left(self, now: float, *, is_paused: bool) -> float:
        """Return the time until the next check; 0 or less if the body takes too long.

        ``is_paused``: the server does not read, so the time does not count.
        """
        began, size = self._window
        if is_paused:
            self.since += now - began
            self._window = (now, self.size)
        elif now - began >= LOOK_SECONDS:
            if self.size - size < (now - began) * self._limits.body_least_bytes_per_second:
                return 0.0
            self._window = (now, self.size)
        next_look = self._window[0] + LOOK_SECONDS
        return (next_look if self._is_long else min(next_look, self.since + self._limits.body_seconds)) - now
