"""The commit history of a workspace, listed by git inside the sandbox.

Git lists hashes and prints raw objects, which are parsed here. Git formats nothing, so no configuration, encoding,
mailmap or note affects the result; grafts, replaced objects and commit-graph files are ignored.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import InvalidInput, WorkspaceFailure
from app.services.git.commit_object import LoggedCommit, parse_commit
from app.services.git.head import SHA
from app.services.git.working_tree import Tree, WorkingTreeReader

MAX_COMMITS = 10_000
# Limit of the raw objects of one page.
MAX_PAGE_BYTES = 8 * 1024 * 1024
ABSENT_CURSOR = "absent"
_HEADER = re.compile(rb"(?P<sha>[0-9a-f]{40,64}) (?P<type>[a-z]+)(?: (?P<size>[0-9]+))?\n")

# Takes $head, $base, $after and $count. The history of a shallow clone ends at its boundary.
LIST = f"""\
[ -f .git/shallow ] && head -c 1000000 .git/shallow | grep -aE '^([0-9a-f]{{40}}|[0-9a-f]{{64}})$' >"$GIT_DIR/shallow"
list() {{ g rev-list --date-order --max-count={MAX_COMMITS} "$@"; }}
if [ -n "$base" ] && g merge-base --is-ancestor "$base" "$head"; then
  list "$head" "^$base" >/tmp/list && list "$base" >>/tmp/list
else
  list "$head" >/tmp/list
fi || fail 'the history can'"'"'t be read'
skipped=0
if [ -n "$after" ]; then
  skipped=$(head -n {MAX_COMMITS} /tmp/list | grep -nxF -m1 "$after" | cut -d: -f1)
  [ -n "$skipped" ] || {{ printf '{ABSENT_CURSOR}' | base64 -w0; echo; echo; exit 0; }}
fi
head -n {MAX_COMMITS} /tmp/list | tail -n "+$((skipped + 1))" | head -n "$((count + 1))" >/tmp/page
base64 -w0 </tmp/page; echo
head -n "$count" /tmp/page | g cat-file --batch | head -c {MAX_PAGE_BYTES} | base64 -w0; echo
"""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Commits, newest first. ``has_more``: older ones follow."""

    commits: list[LoggedCommit]
    has_more: bool


class HistoryReader:
    """Reads pages of histories through ``WorkingTreeReader``."""

    def __init__(self, reader: WorkingTreeReader) -> None:
        self._reader = reader

    async def page(self, tree: Tree, base: str | None, after: str | None, count: int) -> HistoryPage:
        """Read a page of the history of ``tree.commit``: first the commits that are not ancestors of ``base``.

        ``after``: the last commit of the page before. Raises WorkspaceFailure, and InvalidInput for an
        unknown ``after``.
        """
        if tree.commit is None:
            return HistoryPage([], has_more=False)
        if after is not None and not SHA.fullmatch(after):
            raise _elsewhere()
        values = f"head={tree.commit} base={base or ''} after={after or ''} count={count:d}\n"
        listing, objects = await self._reader.objects(tree, values + LIST, 2)
        if listing == ABSENT_CURSOR.encode():
            raise _elsewhere()
        shas = listing.decode("ascii", "replace").split()
        commits = _commits(objects, shas[:count])
        if len(commits) < min(count, len(shas)) and not commits:
            raise WorkspaceFailure("Git could not read the workspace's commits.")
        return HistoryPage(commits, has_more=len(shas) > len(commits))


def _elsewhere() -> InvalidInput:
    return InvalidInput("The cursor is not of this history, which may have been rewritten.", path=("after",))


def _commits(output: bytes, shas: Sequence[str]) -> list[LoggedCommit]:
    """Parse the output of ``git cat-file --batch``, up to the first truncated object unless that is the only one."""
    found: list[LoggedCommit] = []
    at = 0
    for sha in shas:
        header = _HEADER.match(output, at)
        if header is None or header["sha"].decode() != sha or header["type"] != b"commit" or header["size"] is None:
            break
        at = header.end()
        end = at + int(header["size"])
        if end > len(output) and found:
            break
        found.append(parse_commit(sha, output[at:end], is_cut=end > len(output)))
        at = end + 1
    return found
