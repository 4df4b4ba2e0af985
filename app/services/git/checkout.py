"""Clones a conversation's repository. If the user chose no branch, git's HEAD decides which branch is the default."""

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
class CheckoutOutcome:
    """The cloned branch (``None`` if the repository has none), and a note for the user, if one is needed.

    ``commit`` is the cloned commit, ``None`` for a repository without commits.
    """

    branch: str | None
    note: str | None = None
    commit: str | None = None


def merge_remote(*, is_fork: bool) -> str:
    """Return the remote's name under which a clone has the branch to be merged: a fork has it from elsewhere."""
    return "upstream" if is_fork else "origin"


async def clone_branch(
    cloner: GitCloner, source: CloneSource, directory: Path, branch: str | None, *, is_default: bool
) -> CheckoutOutcome:
    """Clone ``branch``. With ``is_default`` clone HEAD instead; ``branch`` is then the provider's default branch.

    Raises ``WorkspaceFailure``.
    """
    if not is_default:
        checkout = await cloner.clone(source, directory, branch=branch)
        return CheckoutOutcome(branch, commit=checkout.commit)
    checkout = await cloner.clone(source, directory, branch=None)
    if checkout.commit is not None:
        return replace(_told(checkout, branch), commit=checkout.commit)
    if not await cloner.has_branch(source):
        return CheckoutOutcome(None, "The repository has no commits yet: the workspace is an empty clone.")
    head = (checkout.branch or "HEAD")[:SHOWN_NAME_CHARACTERS]
    if default_branch(branch) is None or branch == head or not await cloner.has_branch(source, branch):
        message = f"The repository's default branch is {head}, which does not exist: name one of its branches."
        raise WorkspaceFailure(message)
    await asyncio.to_thread(remove_tree, directory)
    checkout = await cloner.clone(source, directory, branch=branch)
    note = f"Git's default branch, {head}, does not exist: {branch} was cloned, the provider's."
    return CheckoutOutcome(branch, note, checkout.commit)


def _told(checkout: Checkout, provider_word: str | None) -> CheckoutOutcome:
    """Build the outcome of a clone with commits, noting a HEAD that differs from the provider's default branch."""
    if checkout.branch is None:
        commit = (checkout.commit or "")[:SHOWN_COMMIT_CHARACTERS]
        return CheckoutOutcome(None, f"Git's HEAD names no branch: its commit {commit} was cloned.")
    branch = default_branch(checkout.branch)
    if branch is None:
        return CheckoutOutcome(None, "Git's default branch was cloned. Its name can't be shown.")
    if branch == provider_word:
        return CheckoutOutcome(branch)
    provider_default = "the provider names none" if provider_word is None else f"the provider says {provider_word}"
    return CheckoutOutcome(branch, f"Git's default branch is {branch}, which was cloned; {provider_default}.")
