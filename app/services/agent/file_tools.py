"""The agent's tools for files of its workspace. They run in the server's process, confined to the workspace."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from pydantic import Field

from app.services.agent.tools import Arguments, Tool, ToolContext, ToolFault, ToolOutput, typed_tool
from app.services.filesystem.files import MAX_PATH_CHARACTERS, ROOT, Entry, WorkspaceFiles
from app.services.filesystem.tree import measure
from app.services.sandbox.base import CommandLimits
from app.services.sandbox.identity import sandbox_uid

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_CONTENT_CHARACTERS = 200_000
MAX_LINES = 2000
MAX_ENTRIES = 1000

T = TypeVar("T")


class ReadArguments(Arguments):
    """Arguments of ``read_file``."""

    path: str = Field(min_length=1, max_length=MAX_PATH_CHARACTERS, description="The file.")
    first_line: int = Field(default=1, ge=1, description="The first line to read, counted from 1.")
    last_line: int | None = Field(default=None, ge=1, description="The last line to read; null: to the end.")


class WriteArguments(Arguments):
    """Arguments of ``write_file``."""

    path: str = Field(min_length=1, max_length=MAX_PATH_CHARACTERS, description="The file.")
    content: str = Field(max_length=MAX_CONTENT_CHARACTERS, description="All that the file will hold.")


class EditArguments(Arguments):
    """Arguments of ``edit_file``."""

    path: str = Field(min_length=1, max_length=MAX_PATH_CHARACTERS, description="The file.")
    old_text: str = Field(
        min_length=1,
        max_length=MAX_CONTENT_CHARACTERS,
        description="Text that is in the file exactly once, with its spaces and line breaks.",
    )
    new_text: str = Field(max_length=MAX_CONTENT_CHARACTERS, description="What takes its place.")


class ListArguments(Arguments):
    """Arguments of ``list_files``."""

    path: str = Field(default=ROOT, min_length=1, max_length=MAX_PATH_CHARACTERS, description="The directory.")


class FileTools:
    """Implements the tools; each call accesses one conversation's files in a thread."""

    def __init__(self, workspace_of: Callable[[UUID], Path], limits: CommandLimits) -> None:
        self._workspace_of = workspace_of
        self._limits = limits

    def tools(self) -> list[Tool]:
        """Return the tools for a ``Toolbox``."""
        paths = f"Paths are absolute, under {ROOT}, or relative to it."
        return [
            typed_tool(
                "read_file",
                f"Read a text file, with line numbers. At most {MAX_LINES} lines at once. {paths}",
                ReadArguments,
                self._read,
                changes_files=False,
            ),
            typed_tool(
                "write_file",
                f"Make a text file, with the directories it needs, or replace all that it holds. {paths}",
                WriteArguments,
                self._write,
            ),
            typed_tool(
                "edit_file",
                f"Replace a piece of a text file. The old text must be in the file exactly once. {paths}",
                EditArguments,
                self._edit,
            ),
            typed_tool(
                "list_files",
                f"List a directory, with the sizes of files in bytes. At most {MAX_ENTRIES} entries. {paths}",
                ListArguments,
                self._list,
                changes_files=False,
            ),
        ]

    async def _read(self, context: ToolContext, arguments: ReadArguments) -> ToolOutput:
        content = await self._in_thread(context, lambda files: files.read(arguments.path, MAX_FILE_BYTES))
        if b"\x00" in content:
            raise ToolFault(f"{arguments.path} is no text: it has null bytes.")
        return _numbered(content.decode("utf-8", "replace"), arguments, self._limits.output_characters)

    async def _write(self, context: ToolContext, arguments: WriteArguments) -> ToolOutput:
        is_new = await self._put(context, arguments.path, arguments.content)
        what = "new file" if is_new else "replaced"
        return ToolOutput(f"{arguments.path}: {what}, {_count(_lines(arguments.content), 'line')}.")

    async def _edit(self, context: ToolContext, arguments: EditArguments) -> ToolOutput:
        content = await self._in_thread(context, lambda files: files.read(arguments.path, MAX_FILE_BYTES))
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise ToolFault(f"{arguments.path} is no UTF-8 text.") from None
        count = _occurrences(text, arguments.old_text)
        if count != 1:
            where = "is not in" if count == 0 else f"is {count} times in"
            raise ToolFault(f"old_text {where} {arguments.path}; it must be there exactly once. Nothing was changed.")
        before = text[: text.index(arguments.old_text)]
        await self._put(context, arguments.path, text.replace(arguments.old_text, arguments.new_text, 1))
        return ToolOutput(f"{arguments.path}: replaced at line {before.count(chr(10)) + 1}.")

    async def _list(self, context: ToolContext, arguments: ListArguments) -> ToolOutput:
        listing = await self._in_thread(context, lambda files: files.list(arguments.path, MAX_ENTRIES))
        lines = [_line(entry) for entry in listing.entries]
        if listing.is_cut:
            lines.append(f"[… more than {MAX_ENTRIES} entries …]")
        return ToolOutput("\n".join(lines) or "The directory is empty.", truncated=listing.is_cut)

    async def _put(self, context: ToolContext, path: str, text: str) -> bool:
        content = text.encode()
        if len(content) > MAX_FILE_BYTES:
            raise ToolFault(f"The file would be larger than {MAX_FILE_BYTES} bytes.")
        root = self._workspace_of(context.conversation_id)
        limit = self._limits.workspace_bytes

        def put(files: WorkspaceFiles) -> bool:
            size = measure(root)
            if size.is_too_large:
                raise ToolFault("The workspace has too many files, or directories that are nested too deeply.")
            if size.bytes + len(content) > limit:
                raise ToolFault(f"The workspace is full: it may take {limit / 2**20:g} MiB.")
            return files.write(path, content)

        return await self._in_thread(context, put)

    async def _in_thread(self, context: ToolContext, work: Callable[[WorkspaceFiles], T]) -> T:
        files = WorkspaceFiles(self._workspace_of(context.conversation_id), sandbox_uid(context.conversation_id))
        try:
            return await asyncio.to_thread(work, files)
        except OSError as error:
            # The agent may be able to react to errors such as a full disk or missing permissions.
            raise ToolFault(f"The system refuses: {error.strerror or type(error).__name__}.") from None


def _numbered(text: str, arguments: ReadArguments, max_characters: int) -> ToolOutput:
    """Return the requested lines with line numbers, up to the limit on a tool's output."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        return ToolOutput("The file is empty.")
    if arguments.first_line > len(lines):
        raise ToolFault(f"{arguments.path} has {_count(len(lines), 'line')} only.")
    last = min(arguments.last_line or len(lines), len(lines))
    if last < arguments.first_line:
        raise ToolFault("last_line comes before first_line.")
    told: list[str] = []
    room, is_cut = max_characters, False
    for number in range(arguments.first_line, min(last, arguments.first_line + MAX_LINES - 1) + 1):
        line = f"{number:6}\t{lines[number - 1]}"
        if len(line) > room:
            if not told:
                told.append(line[:room] + " [… the line goes on …]")
            is_cut = True
            break
        told.append(line)
        room -= len(line) + 1
    end = arguments.first_line + len(told) - 1
    if end < last:
        told.append(f"[… {len(lines)} lines in all; go on with first_line {end + 1} …]")
    return ToolOutput("\n".join(told), truncated=is_cut or end < last)


def _occurrences(text: str, part: str) -> int:
    """Count occurrences, including overlapping ones, up to 100."""
    count, position = 0, text.find(part)
    while position >= 0 and count < 100:  # noqa: PLR2004  Enough to tell the agent.
        count += 1
        position = text.find(part, position + 1)
    return count


def _line(entry: Entry) -> str:
    match entry.kind:
        case "directory":
            return f"{_shown(entry.name)}/"
        case "file":
            return f"{_shown(entry.name)}  {entry.bytes}"
        case _:
            return f"{_shown(entry.name)}  ({entry.kind})"


def _shown(name: str) -> str:
    """Return a printable name on one line; invalid UTF-8 is replaced."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text if text.isprintable() else repr(text)


def _lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n") and bool(text))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
