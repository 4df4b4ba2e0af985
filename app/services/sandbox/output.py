"""A command's output: decoded for streaming, and buffered up to a limit."""

import codecs

# A command that writes more is killed, since an agent can't use so much output.
MAX_OUTPUT_BYTES = 16 * 1024 * 1024


class Output:
    """Buffers up to ``MAX_OUTPUT_BYTES`` of output, decoded as UTF-8 with U+FFFD for invalid bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.overflowed = False

    def feed(self, piece: bytes) -> str:
        """Buffer a chunk, and return its text, without a character that is incomplete until the next chunk."""
        free = MAX_OUTPUT_BYTES - len(self._bytes)
        self.overflowed = self.overflowed or len(piece) > free
        self._bytes += piece[:free]
        return self._decoder.decode(piece[:free])

    def whole(self) -> bytes:
        """Return all buffered bytes."""
        return bytes(self._bytes)

    def text(self) -> str:
        """Return all buffered output, decoded."""
        return self._bytes.decode("utf-8", "replace")


def shorten(text: str, characters: int, where: str | None) -> str:
    """Cut the middle out of a long text; a line in its place tells the path ``where`` the whole output is, if any."""
    head = characters // 2
    tail = characters - head
    rest = f"the whole output is in {where}" if where else "the whole output could not be kept"
    return f"{text[:head]}\n[… {len(text) - characters} characters left out; {rest} …]\n{text[-tail:]}"
