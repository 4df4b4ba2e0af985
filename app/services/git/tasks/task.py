"""Builds suggested tasks from the entries of providers' answers, which may hold anything."""

from collections.abc import Iterable

from app.errors import InvalidInput
from app.services.git.base import RemoteTask, TaskKind
from app.services.git.hosts import checked_branch, checked_name
from app.services.message import storable

TITLE_MAX_LENGTH = 500
MAX_NUMBER = 2**31 - 1


def kind_of(*, conflicts: bool, failing: bool, unresolved: bool) -> TaskKind | None:
    """Return the kind of a pull request, the most blocking one first; ``None`` if nothing is left to do."""
    if conflicts:
        return TaskKind.MERGE_CONFLICTS
    if failing:
        return TaskKind.FAILING_CHECKS
    return TaskKind.UNRESOLVED_COMMENTS if unresolved else None


def pull_request(
    kind: TaskKind, number: int, title: str, url: str, *, repository: str, clone: str, branch: str, base: str
) -> RemoteTask | None:
    """Build the task of a pull request; ``None`` if its names can't be those of repositories and branches."""
    try:
        checked_branch(branch)
        checked_branch(base)
        checked_name(clone, nested=True)
    except InvalidInput:
        return None
    task = issue(number, title, url, repository=repository)
    if task is None:
        return None
    return RemoteTask(kind, repository, number, task.title, url, clone, branch, base)


def issue(number: int, title: str, url: str, *, repository: str) -> RemoteTask | None:
    """Build the task of an issue; ``None`` if number or name are malformed. The title becomes one line."""
    try:
        checked_name(repository, nested=True)
    except InvalidInput:
        return None
    if not 1 <= number <= MAX_NUMBER:
        return None
    line = " ".join(storable(title).split())[:TITLE_MAX_LENGTH]
    return RemoteTask(TaskKind.OPEN_ISSUE, repository, number, line, url, repository)


def well_formed(tasks: Iterable[RemoteTask | None]) -> list[RemoteTask]:
    """Leave out malformed tasks, which are ``None``, and duplicates."""
    return list({(task.repository_name, task.number, task.kind): task for task in tasks if task is not None}.values())
