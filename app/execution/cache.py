"""An LRU cache that is bounded by bytes rather than by entries."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """LRU cache bounded by the sum of its values' sizes.

    A value larger than ``max_bytes / LARGEST_SHARE`` is not cached, so that it can't evict most of the others.
    """

    LARGEST_SHARE = 8

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the cached value and mark it as used last, or ``None``."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Insert or replace a value, and evict the least recently used ones. The caller estimates ``size_bytes``."""
        self.discard(key)
        if size_bytes * self.LARGEST_SHARE > self.max_bytes:
            return
        self._entries[key] = (value, size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > self.max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.size_bytes -= freed

    def discard(self, key: K) -> None:
        """Remove the value, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size_bytes -= entry[1]
