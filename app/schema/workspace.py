"""GraphQL types of workspaces: their files, directories and changes."""

import codecs
import mimetypes
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated
from uuid import UUID

import strawberry
from strawberry import Private

from app.context import Context, DiffKey
from app.schema import commit
from app.schema.commit import CommitConnection
from app.schema.connection import PageInfo, check_count, name_cursor, parse_name_cursor
from app.schema.node import Node, workspace_id
from app.schema.scalar import Long, invalid
from app.services.download import DownloadFormat, DownloadRequest
from app.services.filesystem.files import Entry
from app.services.filesystem.names import shown
from app.services.git.patch import Change, ChangeStatus
from app.services.git.working_tree import ChangesSince, Diff
from app.services.workspace_contents import WorkspaceState, WorkspaceSummary, is_binary, join, relative

Info = strawberry.Info[Context, None]

DEFAULT_FIRST = 20
DEFAULT_CONTEXT_LINES = 3
MAX_CONTEXT_LINES = 1000
MAX_LINE = 2**31 - 1
# Only Python's own table of MIME types, since those of machines differ.
_TYPES = mimetypes.MimeTypes(filenames=())
_TEXT, _BINARY = "text/plain", "application/octet-stream"

First = Annotated[int | None, strawberry.argument(description="The page's size, 1 to 100.")]
After = Annotated[str | None, strawberry.argument(description="Only what stands behind this cursor.")]
FirstLine = Annotated[int | None, strawberry.argument(description="The first line, counted from 1.")]
LastLine = Annotated[int | None, strawberry.argument(description="The last line; null: to the end.")]
ContextLines = Annotated[
    int | None, strawberry.argument(description="Unchanged lines around each change, at most 1,000.")
]
PATH = "Relative to the workspace. One that is no UTF-8, or begins with a quotation mark, is quoted as git does it."


@strawberry.interface(description="Something in a workspace.")
class WorkspaceEntry:
    path: str = strawberry.field(description=PATH)
    name: str = strawberry.field(description="The last name of the path.")


@strawberry.type(description="A regular file of a workspace.")
class WorkspaceFile(WorkspaceEntry):
    """A file. In ``real_path``, invalid UTF-8 is represented by surrogates."""

    conversation_key: Private[UUID]
    real_path: Private[str]
    size_bytes: Long = strawberry.field(description="The size in bytes.")

    @strawberry.field(description="Told by its name; where that says nothing, `text/plain` or what stands for bytes.")
    async def media_type(self, info: Info) -> str:
        known, _ = _TYPES.guess_type(f"/{PurePosixPath(self.real_path).name}")
        if known is not None:
            return known
        return _BINARY if await self._is_binary(info) else _TEXT

    @strawberry.field(description="True if there is a null byte among the first 8,000.")
    async def is_binary(self, info: Info) -> bool:
        return await self._is_binary(info)

    @strawberry.field(
        description="Its lines, up to 100,000 bytes; what is no UTF-8 is U+FFFD. Null for a binary file. Lines are "
        "looked for in the first 64 MiB."
    )
    async def text(self, info: Info, first_line: FirstLine = 1, last_line: LastLine = None) -> str | None:
        text_and_cut = await self._lines(info, first_line, last_line)
        return text_and_cut[0] if text_and_cut is not None else None

    @strawberry.field(description="True if `text` of the same arguments leaves something out.")
    async def is_truncated(self, info: Info, first_line: FirstLine = 1, last_line: LastLine = None) -> bool:
        text_and_cut = await self._lines(info, first_line, last_line)
        return text_and_cut is not None and text_and_cut[1]

    @strawberry.field(
        description="The URL of one GET without a header, valid for five minutes: keep it secret. "
        "Relative to the address of `/graphql`. It takes `Range`."
    )
    async def download_url(self, info: Info) -> str:
        context = info.context
        wanted = DownloadRequest(context.owner_id, self.conversation_key, DownloadFormat.FILE, (self.real_path,))
        return context.services.download.sign(wanted).url

    async def _is_binary(self, info: Info) -> bool:
        context = info.context
        workspace = context.services.workspace
        return is_binary(await workspace.head_of(self.conversation_key, self.real_path, context.workspace_reads))

    async def _lines(self, info: Info, first_line: int | None, last_line: int | None) -> tuple[str, bool] | None:
        first = 1 if first_line is None else first_line
        if first < 1 or (last_line is not None and last_line < first):
            raise invalid("`firstLine` is 1 or more, and `lastLine` is not before it.")
        context = info.context
        workspace, budget = context.services.workspace, context.workspace_reads
        excerpt = await workspace.text(self.conversation_key, self.real_path, first, last_line, budget)
        if excerpt is None:
            return None
        # A character that was split at the limit is left out.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return decoder.decode(excerpt.content, final=not excerpt.is_cut), excerpt.is_cut


@strawberry.type(description="A directory of a workspace.")
class WorkspaceDirectory(WorkspaceEntry):
    """It has no fields beside those of the interface: `Workspace.entries` lists it."""


@strawberry.type(description="A symbolic link in a workspace.")
class WorkspaceLink(WorkspaceEntry):
    target: str = strawberry.field(description="The link's target as text. The server never follows it.")


@strawberry.type(description="An entry and its place in a list.")
class WorkspaceEntryEdge:
    cursor: str = strawberry.field(description="Opaque; valid for the same directory.")
    node: WorkspaceEntry = strawberry.field(description="The entry.")


@strawberry.type(description="A page of a directory.")
class WorkspaceEntryConnection:
    edges: list[WorkspaceEntryEdge] = strawberry.field(description="The entries with their cursors.")
    nodes: list[WorkspaceEntry] = strawberry.field(description="Shortcut for `edges { node }`.")
    page_info: PageInfo = strawberry.field(description="The page's position in the connection.")


@strawberry.type(description="A file that is different from the commit that it is compared with.")
class FileChange:
    change: Private[Change]
    workspace: Private[WorkspaceSummary]
    since: Private[ChangesSince]
    path: str = strawberry.field(description=PATH)
    previous_path: str | None = strawberry.field(description="The path from which the file was renamed or copied.")
    status: ChangeStatus = strawberry.field(description="The current state.")
    additions: int = strawberry.field(description="Lines that are new; 0 for a binary file.")
    deletions: int = strawberry.field(description="Lines that are gone; 0 for a binary file.")
    is_binary: bool = strawberry.field(description="True if git compares the file as bytes instead of lines.")

    @strawberry.field(
        description="A unified diff as git writes it, up to 100,000 bytes; what is no UTF-8 is U+FFFD. Empty where the "
        "file is as it was again."
    )
    async def diff(self, info: Info, context_lines: ContextLines = DEFAULT_CONTEXT_LINES) -> str:
        return (await self._diff(info, context_lines)).text

    @strawberry.field(description="True if `diff` of the same argument leaves something out.")
    async def is_truncated(self, info: Info, context_lines: ContextLines = DEFAULT_CONTEXT_LINES) -> bool:
        return (await self._diff(info, context_lines)).is_cut

    async def _diff(self, info: Info, context_lines: int | None) -> Diff:
        lines = DEFAULT_CONTEXT_LINES if context_lines is None else context_lines
        if not 0 <= lines <= MAX_CONTEXT_LINES:
            raise invalid(f"`contextLines` is between 0 and {MAX_CONTEXT_LINES}.")
        return await info.context.diffs.load(DiffKey(self.workspace, self.since, self.change, lines))


@strawberry.type(description="A change and its place in a list.")
class FileChangeEdge:
    cursor: str = strawberry.field(description="Opaque; valid for the same list.")
    node: FileChange = strawberry.field(description="The change.")


@strawberry.type(description="A page of changes, by path.")
class FileChangeConnection:
    edges: list[FileChangeEdge] = strawberry.field(description="The changes with their cursors.")
    nodes: list[FileChange] = strawberry.field(description="Shortcut for `edges { node }`.")
    page_info: PageInfo = strawberry.field(description="The page's position in the connection.")
    total_count: int = strawberry.field(description="The number of all changes.")


@strawberry.type(description="The directory that a conversation's agent works in.")
class Workspace(Node):
    summary: Private[WorkspaceSummary]
    state: WorkspaceState = strawberry.field(description="The workspace's state.")
    branch_name: str | None = strawberry.field(
        description="The branch that is checked out now; null without a repository, and where HEAD names none."
    )
    base_commit_sha: str | None = strawberry.field(description="The commit that was cloned; null where none was.")
    head_commit_sha: str | None = strawberry.field(
        description="The last commit that is checked out, as the workspace says; null before the first one."
    )

    @strawberry.field(description="The size on disk, in bytes.")
    async def size_bytes(self, info: Info) -> Long:
        context = info.context
        size = await context.services.workspace.size(self.summary.conversation_id, context.workspace_reads)
        return Long(size)

    @strawberry.field(
        description="A directory's entries, sorted by the bytes of their names. Pipes and the like are left out."
    )
    async def entries(
        self,
        info: Info,
        path: Annotated[str, strawberry.argument(description="The directory; empty: the workspace itself.")] = "",
        first: First = DEFAULT_FIRST,
        after: After = None,
    ) -> WorkspaceEntryConnection | None:
        count = check_count("first", first, DEFAULT_FIRST)
        behind = parse_name_cursor(after) if after is not None else None
        context = info.context
        key = self.summary.conversation_id
        if self.state is WorkspaceState.PREPARING:
            return _entry_connection([], has_next_page=False, after=after)
        listing = await context.services.workspace.entries(key, path, behind, count, context.workspace_reads)
        directory = relative(path)
        edges = [
            WorkspaceEntryEdge(cursor=name_cursor(entry.name), node=_entry(key, join(directory, entry.name), entry))
            for entry in listing.entries
        ]
        return _entry_connection(edges, has_next_page=listing.is_cut, after=after)

    @strawberry.field(description="A regular file. Null where there is none; links are followed within the workspace.")
    async def file(
        self, info: Info, path: Annotated[str, strawberry.argument(description="The file.")]
    ) -> WorkspaceFile | None:
        context = info.context
        if self.state is WorkspaceState.PREPARING:
            return None
        entry = await context.services.workspace.file(self.summary.conversation_id, path, context.workspace_reads)
        if entry is None or entry.kind != "file":
            return None
        return _file(self.summary.conversation_id, relative(path), entry)

    @strawberry.field(
        description="The differences of the working tree, untracked files included and ignored ones not. Null with "
        "an error where there is no sandbox, in which git compares. Without a repository all is added."
    )
    async def changes(
        self,
        info: Info,
        first: First = DEFAULT_FIRST,
        after: After = None,
        since: Annotated[
            ChangesSince, strawberry.argument(description="The base of the comparison.")
        ] = ChangesSince.CLONED,
    ) -> FileChangeConnection | None:
        count = check_count("first", first, DEFAULT_FIRST)
        behind = parse_name_cursor(after).encode("utf-8", "surrogateescape") if after is not None else b""
        context = info.context
        changes = await context.services.workspace.changes(self.summary, since, context.workspace_reads)
        page = [change for change in changes if change.path > behind]
        edges = [
            FileChangeEdge(cursor=name_cursor(_decoded(change.path)), node=_change(change, self.summary, since))
            for change in page[:count]
        ]
        return FileChangeConnection(
            edges=edges,
            nodes=[edge.node for edge in edges],
            page_info=_page_info([edge.cursor for edge in edges], has_next_page=len(page) > count, after=after),
            total_count=len(changes),
        )

    @strawberry.field(
        description="The history of what is checked out, newest first: the commits since the clone, then those before, "
        "as far as they were cloned; 10,000 at most. Null with an error where there is no sandbox."
    )
    async def commits(self, info: Info, first: First = DEFAULT_FIRST, after: After = None) -> CommitConnection | None:
        count = check_count("first", first, DEFAULT_FIRST)
        behind = parse_name_cursor(after) if after is not None else None
        context = info.context
        page = await context.services.workspace.commits(self.summary, behind, count, context.workspace_reads)
        return commit.connection(page, after)


ENTRY_TYPES = (WorkspaceFile, WorkspaceDirectory, WorkspaceLink)


def convert(summary: WorkspaceSummary) -> Workspace:
    """Build the GraphQL object of a workspace."""
    return Workspace(
        id=workspace_id(summary.conversation_id),
        summary=summary,
        state=summary.state,
        branch_name=summary.head.branch,
        base_commit_sha=summary.base_commit,
        head_commit_sha=summary.head.commit,
    )


def _entry(key: UUID, path: str, entry: Entry) -> WorkspaceEntry:
    if entry.kind == "file":
        return _file(key, path, entry)
    if entry.kind == "link":
        return WorkspaceLink(path=shown(path), name=shown(entry.name), target=shown(entry.target or ""))
    return WorkspaceDirectory(path=shown(path), name=shown(entry.name))


def _file(key: UUID, path: str, entry: Entry) -> WorkspaceFile:
    return WorkspaceFile(
        path=shown(path),
        name=shown(PurePosixPath(path).name),
        conversation_key=key,
        real_path=path,
        size_bytes=Long(entry.bytes),
    )


def _change(change: Change, workspace: WorkspaceSummary, since: ChangesSince) -> FileChange:
    previous = change.previous_path
    return FileChange(
        change=change,
        workspace=workspace,
        since=since,
        path=shown(_decoded(change.path)),
        previous_path=shown(_decoded(previous)) if previous is not None else None,
        status=change.status,
        additions=min(change.additions or 0, MAX_LINE),
        deletions=min(change.deletions or 0, MAX_LINE),
        is_binary=change.additions is None,
    )


def _decoded(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _entry_connection(
    edges: Sequence[WorkspaceEntryEdge], *, has_next_page: bool, after: str | None
) -> WorkspaceEntryConnection:
    page_info = _page_info([edge.cursor for edge in edges], has_next_page=has_next_page, after=after)
    return WorkspaceEntryConnection(edges=list(edges), nodes=[edge.node for edge in edges], page_info=page_info)


def _page_info(cursors: Sequence[str], *, has_next_page: bool, after: str | None) -> PageInfo:
    return PageInfo(
        has_next_page=has_next_page,
        has_previous_page=after is not None,
        start_cursor=cursors[0] if cursors else None,
        end_cursor=cursors[-1] if cursors else None,
    )
