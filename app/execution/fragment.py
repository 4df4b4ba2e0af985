"""Parts of answers as the bytes of their JSON, kept for when the same part is asked for again.

What a list shows of a row is computed from the row alone. A row that is read again, as lists are that clients look at
every few seconds, is recognised by its values, so that what is kept is never out of date.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import orjson

if TYPE_CHECKING:
    from app.execution.executor import CompiledExecutor
    from app.execution.shape import Items

# Measured on conversations and events: what a key and its place take, and bytes for one of JSON.
OWN_BYTES = 1000
BYTES_PER_BYTE = 3
# What takes more than this part of all is not kept.
LARGEST_SHARE = 100

Kept = dict[Hashable, orjson.Fragment]


class Budget:
    """How many bytes all fragments of a schema may take, about. When they are spent, all are forgotten."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._spenders: WeakSet[Fragments] = WeakSet()

    def share(self, spender: "Fragments") -> None:
        """Have somebody spend it too."""
        self._spenders.add(spender)

    def spend(self, size_bytes: int) -> None:
        """Note what has been kept."""
        self.size_bytes += size_bytes
        if self.size_bytes > self.max_bytes:
            for spender in self._spenders:
                spender.forget()
            self.size_bytes = 0


class Fragments:
    """The items of one list in an operation. ``complete`` turns sources into the items' JSON values."""

    def __init__(self, complete: "Callable[[Sequence[Any], CompiledExecutor, Any], list[Any]]", budget: Budget) -> None:
        self._complete = complete
        self._budget = budget
        self._kept: dict[Callable[..., Any], Kept] = {}
        budget.share(self)

    def of(self, items: "Items", run: "CompiledExecutor") -> list[Any]:
        """The items: fragments, but for those that can't be kept."""
        kept = self._kept.get(items.make)
        if kept is None:
            kept = self._kept[items.make] = {}
        found: list[Any] = list(map(kept.get, items.keys))
        if None in found:
            self._fill(found, kept, items, run)
        return found

    def forget(self) -> None:
        """Keep nothing."""
        self._kept = {}

    def _fill(self, found: list[Any], kept: Kept, items: "Items", run: "CompiledExecutor") -> None:
        places = [place for place, fragment in enumerate(found) if fragment is None]
        keys = [items.keys[place] for place in places]
        values = self._complete(items.make(keys), run, None)
        largest, size_bytes = self._budget.max_bytes // LARGEST_SHARE, 0
        for place, key, value in zip(places, keys, values, strict=True):
            found[place] = value
            try:
                text = orjson.dumps(value)
            except TypeError:
                # Integers over 64 bits and halves of surrogates, which only the standard library writes.
                continue
            own_bytes = OWN_BYTES + BYTES_PER_BYTE * len(text)
            if own_bytes <= largest:
                found[place] = kept[key] = orjson.Fragment(text)
                size_bytes += own_bytes
        self._budget.spend(size_bytes)


def plain(fragment: object) -> object:
    """The JSON value of a fragment, for who can't use its bytes. Raises TypeError for what is none."""
    if not isinstance(fragment, orjson.Fragment):
        raise TypeError(f"{type(fragment).__name__} is no JSON")
    return orjson.loads(orjson.dumps(fragment))
