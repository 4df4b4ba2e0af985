"""Reorders the blocks of a stream in Anthropic's format, so that they no longer overlap.

litellm ignores a fragment's index: it adds the fragment to the call that began last. Gateways that translate parallel
calls to this format interleave them, begin a text in the middle of a call, leave out where a block ends, or send that
before the block's arguments. So while a call is open, other blocks wait for its end, and the end waits for complete
arguments, at the most until the message ends.
"""

from dataclasses import dataclass, field
from typing import cast

from app.services.llm.argument_pieces import Structure
from app.services.llm.lenient_json import JSON
from app.services.llm.transport import refused

MAX_WAITING_BLOCKS = 128
MAX_WAITING_DELTAS = 10_000
MAX_WAITING_CHARS = 2_000_000
_TEXTS = {
    "input_json_delta": "partial_json",
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
}
_CALL = "tool_use"


@dataclass(slots=True)
class _Waiting:
    """A block that is held back: its events, and for each the fragments of its text."""

    index: object
    is_call: bool
    events: list[tuple[JSON, list[str]]]
    end: JSON | None = None
    structure: Structure = field(default_factory=Structure)

    def takes(self, event: JSON) -> bool:
        """Tell whether a delta with the block's index belongs to it."""
        return self.end is None or (self.is_call and _has_arguments(event) and not self.structure.is_complete)

    def add(self, event: JSON) -> bool:
        """Add an event, and return whether it is joined to the one before."""
        piece = _text_in(event)
        if _has_arguments(event):
            self.structure.add(piece or "")
        last, pieces = self.events[-1]
        is_joined = piece is not None and bool(pieces) and last["delta"].get("type") == event["delta"].get("type")
        if is_joined:
            pieces.append(cast("str", piece))
        else:
            self.events.append((event, [] if piece is None else [piece]))
        return is_joined

    def joined(self) -> list[JSON]:
        return [_with_text(event, "".join(pieces)) if len(pieces) > 1 else event for event, pieces in self.events]


@dataclass(slots=True)
class BlockOrder:
    """Reorders the events of one stream."""

    # The index of the call that litellm is reading, and of each call so far whether its arguments are complete.
    _open: object = None
    _is_open: bool = False
    # The end of the open call, if its arguments were not complete when that came.
    _end: JSON | None = None
    _calls: dict[object, Structure] = field(default_factory=dict[object, Structure])
    _waiting: list[_Waiting] = field(default_factory=list[_Waiting])
    _deltas: int = 0
    _chars: int = 0

    def ordered(self, event: JSON) -> list[JSON]:
        """Return the events to pass on now. Raises ``CallRefused`` if too much waits."""
        index = event.get("index", 0)
        index = index if isinstance(index, int | str) else 0
        match event.get("type"):
            case "content_block_start":
                return self._start(index, event)
            case "content_block_delta":
                return self._delta(index, event)
            case "content_block_stop":
                return self._stop(index, event)
            case "message_delta" | "message_stop" if self._waiting or self._end is not None:
                return [*self._ended(is_end=True), event]
            case _:
                return [event]

    def _start(self, index: object, event: JSON) -> list[JSON]:
        if self._is_open and index != self._open:
            if len(self._waiting) == MAX_WAITING_BLOCKS:
                raise refused("The model's answer has too many blocks at once.")
            self._waiting.append(_Waiting(index, _is_call(event), [(event, [])]))
            return []
        # With the index of the open one it begins where the end of that one is missing.
        ends = [] if self._end is None else [self._end]
        self._begin(index, is_call=_is_call(event))
        return [*ends, event]

    def _delta(self, index: object, event: JSON) -> list[JSON]:
        waiting = self._waiting_at(index)
        if waiting is not None and waiting.takes(event):
            self._wait(waiting, event)
            return []
        known = self._calls.get(index)
        if known is None or not _has_arguments(event):
            return [event]
        if not self._is_open or index == self._open:
            known.add(_text_in(event) or "")
            return [event, *self._ended()] if self._end is not None and known.is_complete else [event]
        # Late arguments of a call that has ended must not become those of another call. Nothing can follow complete
        # arguments, though: some servers give all fragments one index.
        return [event] if known.is_complete else []

    def _stop(self, index: object, event: JSON) -> list[JSON]:
        waiting = self._waiting_at(index)
        if waiting is not None:
            waiting.end = event
            return []
        if self._is_open and index != self._open:
            # litellm would take it for the end of the open one.
            return []
        if not self._is_open:
            return [event]
        self._end = event
        return self._ended() if self._calls[index].is_complete else []

    def _begin(self, index: object, *, is_call: bool, structure: Structure | None = None) -> None:
        self._is_open, self._open, self._end = is_call, index, None
        if is_call:
            self._calls[index] = structure or Structure()

    def _ended(self, *, is_end: bool = False) -> list[JSON]:
        """End the open call, and return its end, if that has come, and the events of blocks that waited for it."""
        ends = [] if self._end is None else [self._end]
        self._is_open, self._end = False, None
        return [*ends, *self._released(is_end=is_end)]

    def _waiting_at(self, index: object) -> _Waiting | None:
        # An index may come again, behind the end of the block that had it.
        return next((each for each in reversed(self._waiting) if each.index == index), None)

    def _wait(self, waiting: _Waiting, event: JSON) -> None:
        self._chars += len(_text_in(event) or "")
        self._deltas += 0 if waiting.add(event) else 1
        if self._chars > MAX_WAITING_CHARS or self._deltas > MAX_WAITING_DELTAS:
            raise refused("The model's answer is too long.")

    def _released(self, *, is_end: bool = False) -> list[JSON]:
        """Return the events of blocks that waited, up to and including a call that is still open."""
        events: list[JSON] = []
        while self._waiting and (is_end or not self._is_open):
            block = self._waiting.pop(0)
            events += block.joined()
            self._begin(block.index, is_call=block.is_call, structure=block.structure)
            if block.end is not None and self._is_open and not block.structure.is_complete and not is_end:
                self._end = block.end
            else:
                events += [] if block.end is None else [block.end]
                self._is_open = block.is_call and block.end is None and not is_end
        if not self._waiting:
            self._deltas = self._chars = 0
        return events


def _is_call(event: JSON) -> bool:
    block = event.get("content_block")
    return isinstance(block, dict) and cast("JSON", block).get("type") == _CALL


def _has_arguments(event: JSON) -> bool:
    delta = event.get("delta")
    return isinstance(delta, dict) and cast("JSON", delta).get("type") == "input_json_delta" and bool(_text_in(event))


def _text_in(event: JSON) -> str | None:
    """Return the text of a delta; ``None`` if it brings anything else."""
    delta = event.get("delta")
    if not isinstance(delta, dict):
        return None
    name = _TEXTS.get(str(cast("JSON", delta).get("type")))
    text = cast("JSON", delta).get(name) if name else None
    return text if isinstance(text, str) else None


def _with_text(event: JSON, text: str) -> JSON:
    delta = cast("JSON", event["delta"])
    return {**event, "delta": {**delta, _TEXTS[delta["type"]]: text}}
