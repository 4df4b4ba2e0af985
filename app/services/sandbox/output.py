"""What a command writes: streamed, and kept with bounds."""

import codecs

# A command that writes more is ended: what it says is of no use to an agent any more.
MAX_OUTPUT_BYTES = 16 * 1024 * 1024


class Output:
    """A command's output, decoded as UTF-8 with U+FFFD for what is none. Holds at most ``MAX_OUTPUT_BYTES``."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.overflowed = False

    def feed(self, piece: bytes) -> str:
        """Keep a piece; what of it can be read already. A character may come in two pieces."""
        room = MAX_OUTPUT_BYTES - len(self._bytes)
        self.overflowed = self.overflowed or len(piece) > room
        self._bytes += piece[:room]
        return self._decoder.decode(piece[:room])

    def whole(self) -> bytes:
        """All of it."""
        return bytes(self._bytes)

    def text(self) -> str:
        """All of it, decoded."""
        return self._bytes.decode("utf-8", "replace")


def shorten(text: str, characters: int, where: str | None) -> str:
    """Head and tail of a text that is longer than ``characters``, with a line between them; ``where`` the whole is."""
    head = characters // 2
    tail = characters - head
    rest = f"the whole output is in {where}" if where else "the whole output could not be kept"
    return f"{text[:head]}\n[… {len(text) - characters} characters left out; {rest} …]\n{text[-tail:]}"
