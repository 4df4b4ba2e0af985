"""A request on its way through litellm's libraries, without what they do to all of its history each time."""

import importlib
from typing import Any, cast

_RESOURCE = "openai.resources.chat.completions.completions"


def leave_as_they_are() -> None:
    """Have requests sent with the fields that litellm gave them.

    The client renames fields that have another name in JSON, of which chat completions have none, and walks through
    each message and tool for that: a sixth of the processor time of a run with ten calls of tools, and more the longer
    its history is.
    """
    resource = importlib.import_module(_RESOURCE)
    is_given = importlib.import_module("openai._utils").is_given

    async def as_given(data: object, _type: object) -> object:
        # The client's own mark for what was left out.
        return {name: value for name, value in cast("dict[str, Any]", data).items() if is_given(value)}

    setattr(resource, "async_maybe_transform", as_given)  # noqa: B010  a module has no such name to a type checker
