"""Removes secrets from the text of agents, tools and providers before it is stored or sent.

All forms of all secrets are searched in one pass (Aho-Corasick), so the time is linear in the text, whatever the text
and however many secrets. Overlapping matches are replaced as one.
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
# Shorter secrets are too often ordinary words, and redacting those would garble the text.
MIN_SECRET_CHARACTERS = 8

JSONValue: TypeAlias = "bool | int | float | str | list[JSONValue] | dict[str, JSONValue] | None"


class _Automaton:
    """An Aho-Corasick automaton. In state 0, no pattern's prefix has been read."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        # Length of the longest pattern that ends in a state, 0 for none.
        self.match_lengths = [0]
        # Length of the longest suffix read so far that is a proper prefix of a pattern.
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
                    self.match_lengths.append(0)
                    self.pending.append(0)
                    self._fallback.append(0)
                    depths.append(depths[state] + 1)
                state = following
            self.match_lengths[state] = len(pattern)
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
                self.match_lengths[following] = max(self.match_lengths[following], self.match_lengths[fallback])
                self.pending[following] = depths[following] if self._next[following] else self.pending[fallback]
                queue.append(following)

    def step(self, state: int, character: str) -> int:
        """Return the next state. Over a whole text, fallbacks are at most as many as characters (amortised O(1))."""
        while True:
            following = self._next[state].get(character)
            if following is not None:
                return following
            if state == 0:
                return 0
            state = self._fallback[state]

    def skip(self, text: str, position: int) -> int:
        """Return the first position from ``position`` where a pattern may begin; call it only in state 0."""
        if self._starts is None:
            return len(text)
        start = self._starts.search(text, position)
        # The last few characters may be the beginning of a pattern that continues in the next chunk.
        return start.start() if start else max(position, len(text) - _START_CHARACTERS + 1)


# A regular expression for the first four characters of all patterns makes text without secrets 20 times faster.
_START_CHARACTERS = 4


class Redactor:
    """Replaces secrets by ``<secret hidden>``, also in URL-encoded, JSON-escaped and base64-encoded form.

    In base64 a secret is recognised at any offset of the encoded data, such as ``user:secret`` of basic authentication.
    Secrets with fewer than 8 characters are ignored. Reusable, and safe to share between threads.
    """

    def __init__(self, secrets: Iterable[SecretStr]) -> None:
        values = {secret.get_secret_value().strip() for secret in secrets}
        patterns = {form for value in values if len(value) >= MIN_SECRET_CHARACTERS for form in _forms(value)}
        self._automaton = _Automaton(sorted(patterns))

    def text(self, text: str) -> str:
        """Return the text with all secrets replaced."""
        stream = self.stream()
        return stream.feed(text) + stream.finish()

    def json(self, value: JSONValue) -> JSONValue:
        """Return a copy with secrets replaced in strings and keys. It does not recurse, so any depth is fine."""
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
        """Return a redactor for one text that comes in chunks."""
        return StreamRedactor(self._automaton)

    def _shallow(self, value: JSONValue) -> JSONValue:
        if isinstance(value, str):
            return self.text(value)
        return value.copy() if isinstance(value, list | dict) else value


class StreamRedactor:
    """Redacts one text that comes in chunks, also a secret that is split between chunks. Made by ``Redactor.stream``.

    It holds back only what may be the beginning of a secret, at most the length of the longest form.
    """

    def __init__(self, automaton: _Automaton) -> None:
        self._automaton = automaton
        self._state = 0
        self._held = ""
        # Matches in the held text, as [start, end) in ascending order without overlaps.
        self._spans: deque[tuple[int, int]] = deque()

    def feed(self, piece: str) -> str:
        """Return the redacted text that is certain so far.

        All results together, with that of ``finish``, equal ``Redactor.text`` of the whole text.
        """
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
            if automaton.match_lengths[state]:
                self._hide(position - automaton.match_lengths[state], position)
        self._state = state
        return self._release(text, len(text) - automaton.pending[state])

    def finish(self) -> str:
        """Return the rest after the last chunk."""
        self._state = 0
        return self._release(self._held, len(self._held))

    @property
    def held_characters(self) -> int:
        """The number of characters held back, since a secret may begin in them."""
        return len(self._held)

    def _hide(self, start: int, end: int) -> None:
        while self._spans and self._spans[-1][1] > start:
            start = min(start, self._spans.pop()[0])
        self._spans.append((max(start, 0), end))

    def _release(self, text: str, settled: int) -> str:
        """Return ``text`` up to ``settled``, from which on a secret may still begin, and hold back the rest."""
        output: list[str] = []
        position = 0
        while self._spans and self._spans[0][1] <= settled:
            start, end = self._spans.popleft()
            output += (text[position:start], PLACEHOLDER)
            position = end
        first = min(self._spans[0][0], settled) if self._spans else settled
        output.append(text[position:first])
        # A match that may still grow stays as a span, but its text has been replaced already.
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
    """Return the base64 texts of the secret at each offset (0, 1, 2) in a group of three bytes.

    Characters that also depend on neighbouring bytes are left out.
    """
    forms: set[str] = set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode().rstrip("=")
        # The first character depends on the byte before, if the offset is not 0.
        whole = encoded[(0, 2, 3)[before] :]
        # The last character depends on the byte after, unless the secret ends the encoded data.
        shared_bits = (before + len(secret)) * 8 % 6
        for form in {whole, whole[:-1] if shared_bits else whole}:
            forms |= {form, form.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= MIN_SECRET_CHARACTERS}
