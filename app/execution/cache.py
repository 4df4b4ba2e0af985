"""A cache that is bounded by bytes."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Keeps what was used last, up to a number of bytes. What takes more than a share of it is not kept at all."""

    LARGEST_SHARE = 8

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """What is kept under the key."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Keep a value that takes about so many bytes, in the place of an earlier one."""
        self.discard(key)
        if size_bytes * self.LARGEST_SHARE > self.max_bytes:
            return
        self._entries[key] = (value, size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > self.max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.size_bytes -= freed

    def discard(self, key: K) -> None:
        """Forget what is kept under the key, if anything."""
        found = self._entries.pop(key, None)
        if found is not None:
            self.size_bytes -= found[1]
