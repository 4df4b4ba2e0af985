"""Secrets out of what agents, tools and providers say, before it is stored or sent.

All forms of all secrets are looked for in one pass (Aho-Corasick), so the time grows with the text alone, whatever the
text and however many secrets. What overlapping finds cover together is replaced as one.
"""

import base64
import json
import re
from collections import deque
from collections.abc import Iterable
from typing import TypeAlias
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

PLACEHOLDER = "<secret hidden>"
# Shorter ones are ordinary words too often: hiding them would garble what people read.
MIN_SECRET_CHARACTERS = 8

JSONValue: TypeAlias = "bool | int | float | str | list[JSONValue] | dict[str, JSONValue] | None"


class _Automaton:
    """The patterns as an Aho-Corasick automaton; state 0 has read nothing of any pattern."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        # Length of the longest pattern that ends in a state, 0 for none.
        self.found = [0]
        # How many of the characters read last may be the beginning of a pattern that goes on.
        self.pending = [0]
        self._fallback = [0]
        depths = [0]
        starts: set[str] = set()
        for pattern in patterns:
            state = 0
            for character in pattern:
                following = self._next[state].get(character)
                if following is None:
                    following = len(self._next)
                    self._next[state][character] = following
                    self._next.append({})
                    self.found.append(0)
                    self.pending.append(0)
                    self._fallback.append(0)
                    depths.append(depths[state] + 1)
                state = following
            self.found[state] = len(pattern)
            starts.add(pattern[:_START_CHARACTERS])
        self._link(depths)
        self._starts = re.compile("|".join(map(re.escape, sorted(starts)))) if starts else None

    def _link(self, depths: list[int]) -> None:
        queue = deque(self._next[0].values())
        for state in queue:
            self.pending[state] = depths[state]
        while queue:
            state = queue.popleft()
            for character, following in self._next[state].items():
                fallback = self.step(self._fallback[state], character)
                self._fallback[following] = fallback
                self.found[following] = max(self.found[following], self.found[fallback])
                self.pending[following] = depths[following] if self._next[following] else self.pending[fallback]
                queue.append(following)

    def step(self, state: int, character: str) -> int:
        """The state after ``character``. Over a whole text the fallbacks are at most as many as its characters."""
        while True:
            following = self._next[state].get(character)
            if following is not None:
                return following
            if state == 0:
                return 0
            state = self._fallback[state]

    def skip(self, text: str, position: int) -> int:
        """The first place from ``position`` on where a pattern may begin, when nothing of one was read before."""
        if self._starts is None:
            return len(text)
        start = self._starts.search(text, position)
        # The last few characters may begin a pattern whose start goes on in a later piece.
        return start.start() if start else max(position, len(text) - _START_CHARACTERS + 1)


# Four characters of every pattern, found by the regular expression engine, make ordinary text pass 20 times faster.
_START_CHARACTERS = 4


class Redactor:
    """Replaces secrets by ``<secret hidden>``: as they are, URL-encoded, JSON-escaped and in base64.

    Base64 is recognised wherever the secret stands in what was encoded, such as ``user:secret`` of basic access.
    Secrets under 8 characters are left alone. Reusable, and safe to share between threads.
    """

    def __init__(self, secrets: Iterable[SecretStr]) -> None:
        values = {secret.get_secret_value().strip() for secret in secrets}
        patterns = {form for value in values if len(value) >= MIN_SECRET_CHARACTERS for form in _forms(value)}
        self._automaton = _Automaton(sorted(patterns))

    def text(self, text: str) -> str:
        """``text`` without any secret."""
        stream = self.stream()
        return stream.feed(text) + stream.finish()

    def json(self, value: JSONValue) -> JSONValue:
        """A copy of ``value`` without any secret in its strings and keys. Any depth is fine: it does not recurse."""
        root: list[JSONValue] = [value]
        containers: list[list[JSONValue] | dict[str, JSONValue]] = [root]
        while containers:
            container = containers.pop()
            if isinstance(container, list):
                container[:] = [self._shallow(item) for item in container]
                children = container
            else:
                items = [(self.text(key), self._shallow(item)) for key, item in container.items()]
                container.clear()
                container.update(items)
                children = container.values()
            containers.extend(child for child in children if isinstance(child, list | dict))
        return root[0]

    def stream(self) -> "StreamRedactor":
        """A redactor for one text that comes in pieces."""
        return StreamRedactor(self._automaton)

    def _shallow(self, value: JSONValue) -> JSONValue:
        if isinstance(value, str):
            return self.text(value)
        return value.copy() if isinstance(value, list | dict) else value


class StreamRedactor:
    """Redacts one text that comes in pieces, wherever it is cut. Made by ``Redactor.stream``.

    What is held back is at most the longest form of a secret: only what may be the beginning of one.
    """

    def __init__(self, automaton: _Automaton) -> None:
        self._automaton = automaton
        self._state = 0
        self._held = ""
        # What to hide in the held text: [start, end) in ascending order, none overlapping.
        self._spans: deque[tuple[int, int]] = deque()

    def feed(self, piece: str) -> str:
        """What is certain after ``piece``; all outputs, that of ``finish`` last, are ``Redactor.text`` of the whole."""
        position = len(self._held)
        text = self._held + piece if self._held else piece
        automaton, state = self._automaton, self._state
        while position < len(text):
            if state == 0:
                position = automaton.skip(text, position)
                if position == len(text):
                    break
            state = automaton.step(state, text[position])
            position += 1
            if automaton.found[state]:
                self._hide(position - automaton.found[state], position)
        self._state = state
        return self._release(text, len(text) - automaton.pending[state])

    def finish(self) -> str:
        """The rest, once there are no more pieces."""
        self._state = 0
        return self._release(self._held, len(self._held))

    @property
    def held_characters(self) -> int:
        """How many characters were fed but are neither given out nor known to be hidden."""
        return len(self._held)

    def _hide(self, start: int, end: int) -> None:
        while self._spans and self._spans[-1][1] > start:
            start = min(start, self._spans.pop()[0])
        self._spans.append((max(start, 0), end))

    def _release(self, text: str, settled: int) -> str:
        """Gives out ``text`` up to ``settled``, before which no secret can begin any more; holds the rest."""
        output: list[str] = []
        position = 0
        while self._spans and self._spans[0][1] <= settled:
            start, end = self._spans.popleft()
            output += (text[position:start], PLACEHOLDER)
            position = end
        first = min(self._spans[0][0], settled) if self._spans else settled
        output.append(text[position:first])
        # A span that is still open may end later, but it needs its text no more.
        self._held = text[settled:]
        self._spans = deque((max(start - settled, 0), end - settled) for start, end in self._spans)
        return "".join(output)


def _forms(secret: str) -> set[str]:
    escaped = (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    quoted = (
        quote(secret, safe="", errors="replace"),
        quote(secret, errors="replace"),
        quote_plus(secret, errors="replace"),
    )
    lower_case = (re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), form) for form in quoted)
    return {secret, *escaped, *quoted, *lower_case, *_base64_forms(secret.encode(errors="replace"))}


def _base64_forms(secret: bytes) -> set[str]:
    """What stands for ``secret`` in base64 after 0, 1 or 2 bytes of a group, whatever surrounds it."""
    forms: set[str] = set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode().rstrip("=")
        # The character that also carries bits of the byte before differs with that byte.
        whole = encoded[(0, 2, 3)[before] :]
        # So does the last one, unless the secret is what was encoded last.
        shared_bits = (before + len(secret)) * 8 % 6
        for form in {whole, whole[:-1] if shared_bits else whole}:
            forms |= {form, form.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= MIN_SECRET_CHARACTERS}
