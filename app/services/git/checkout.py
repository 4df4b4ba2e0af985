"""Clones what a conversation is about. Where no branch was asked for, git says which one is the default."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from app.errors import WorkspaceFailure
from app.services.filesystem.tree import remove_tree
from app.services.git.base import CloneSource
from app.services.git.clone import Checkout, GitCloner
from app.services.git.hosts import default_branch

SHOWN_COMMIT_CHARACTERS = 12
SHOWN_NAME_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Outcome:
    """The branch that was cloned, null where there is none, and what people are told of it, if anything.

    ``commit`` is the one that was cloned, null for a repository without commits.
    """

    branch: str | None
    note: str | None = None
    commit: str | None = None


async def clone_branch(
    cloner: GitCloner, source: CloneSource, directory: Path, branch: str | None, *, is_default: bool
) -> Outcome:
    """Clone ``branch``, or with ``is_default`` what git's HEAD names: then ``branch`` is what the provider calls so.

    Raises ``WorkspaceFailure``.
    """
    if not is_default:
        checkout = await cloner.clone(source, directory, branch=branch)
        return Outcome(branch, commit=checkout.commit)
    checkout = await cloner.clone(source, directory, branch=None)
    if checkout.commit is not None:
        return replace(_told(checkout, branch), commit=checkout.commit)
    if not await cloner.has_branch(source):
        return Outcome(None, "The repository has no commits yet: the workspace is an empty clone.")
    head = (checkout.branch or "HEAD")[:SHOWN_NAME_CHARACTERS]
    if default_branch(branch) is None or branch == head or not await cloner.has_branch(source, branch):
        message = f"The repository's default branch is {head}, which does not exist: name one of its branches."
        raise WorkspaceFailure(message)
    await asyncio.to_thread(remove_tree, directory)
    checkout = await cloner.clone(source, directory, branch=branch)
    note = f"Git's default branch, {head}, does not exist: {branch} was cloned, the provider's."
    return Outcome(branch, note, checkout.commit)


def _told(checkout: Checkout, provider_word: str | None) -> Outcome:
    """A clone that has commits, beside what the provider calls the default branch."""
    if checkout.branch is None:
        commit = (checkout.commit or "")[:SHOWN_COMMIT_CHARACTERS]
        return Outcome(None, f"Git's HEAD names no branch: its commit {commit} was cloned.")
    branch = default_branch(checkout.branch)
    if branch is None:
        return Outcome(None, "Git's default branch was cloned. Its name can't be shown.")
    if branch == provider_word:
        return Outcome(branch)
    said = "the provider names none" if provider_word is None else f"the provider says {provider_word}"
    return Outcome(branch, f"Git's default branch is {branch}, which was cloned; {said}.")
