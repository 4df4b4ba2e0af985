"""Validates the messages of a request to a model as the strictest of the providers would."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import cast

Body = Mapping[str, object]
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")


class _Checked:
    """Validates the messages of a request as the strictest of the providers would."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self._ids: set[str] = set()
        self._open: list[object] = []
        self._previous: object = None

    def read(self, message: Body) -> None:
        """Check one more message, and keep the first fault."""
        role = message.get("role")
        calls = cast("Sequence[Body]", message.get("tool_calls") or ())
        self._expect(role == "tool" or not self._open, "a call without its result")
        if role == "tool":
            self._expect(message.get("tool_call_id") in self._open, "a result without its call")
            self._open = [call for call in self._open if call != message.get("tool_call_id")]
        else:
            self._expect(bool(message.get("content") or calls), "an empty message")
        self._expect(role not in ("user", "assistant") or role != self._previous, "roles that do not alternate")
        self._expect((self._previous, role) != ("tool", "user"), "a user behind a tool")
        for call in calls:
            self._read_call(call)
        self._previous = role

    def end(self) -> str | None:
        """Check what must hold at the end, and return the first fault, if any."""
        self._expect(not self._open, "a call without its result")
        return self.fault

    def _read_call(self, call: Body) -> None:
        function = cast("Body", call.get("function"))
        call_id = str(call.get("id")).partition("__thought__")[0]
        self._expect(_NAME.fullmatch(str(function.get("name"))), "a name with other characters")
        self._expect(_CALL_ID.fullmatch(call_id), "an id that is too long or has other characters")
        self._expect(call_id not in self._ids, "an id that is not unique")
        self._expect(isinstance(json.loads(str(function.get("arguments"))), dict), "arguments that are no object")
        self._ids.add(call_id)
        self._open.append(call.get("id"))

    def _expect(self, holds: object, fault: str) -> None:
        if not holds and self.fault is None:
            self.fault = f"The request has {fault}."


def fault_of(body: Body) -> str | None:
    """Return why the strictest of the providers would refuse a request; ``None`` if it would not."""
    checked = _Checked()
    for message in cast("Sequence[Body]", body.get("messages") or ()):
        checked.read(message)
    return checked.end()
