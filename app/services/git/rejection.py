"""Tells why a git host rejected a push, from git's report and from what hosts are known to say."""

import re
from collections.abc import Mapping

from app.errors import (
    AppError,
    ErrorCode,
    GitProviderAuthentication,
    GitProviderUnavailable,
    GitRefusal,
    GitScopeMissing,
)
from app.models.provider_account import ProviderType
from app.services.git.base import CloneSource
from app.services.git.push import PushReport
from app.services.message import storable
from app.services.secrets.redaction import Redactor
from app.services.visible_text import visible

MAX_REASON_CHARACTERS = 300
MAX_REMOTE_LINES = 4
WRITE_SCOPES: Mapping[ProviderType, tuple[str, ...]] = {
    ProviderType.GITHUB: ("repo", "Contents: write"),
    ProviderType.GITLAB: ("write_repository", "api"),
    ProviderType.BITBUCKET: ("repository:write", "write:repository:bitbucket"),
}
_WORKFLOW = re.compile(r"without `?workflows?`? (?:scope|permission)")
_MOVED = re.compile(
    r"\((?:stale info|fetch first|non-fast-forward|remote ref updated since checkout|failed to update ref"
    r"|reference already exists)\)|cannot lock ref|incorrect old value provided"
)
_PROTECTED = re.compile(
    r"protected branch|protected ref|\bGH006\b|permission denied to update branch|branch (?:is|restrictions?) protected"
    r"|not allowed to (?:force[- ])?push(?: code)? to (?:a )?protected",
    re.IGNORECASE,
)
_UNAUTHORIZED = re.compile(r"Authentication failed|could not read Username|returned error: 401")
_FORBIDDEN = re.compile(
    r"returned error: 403|^remote: (?:GitLab: )?(?:Permission to \S+ denied|Write access to repository not granted"
    r"|You are not allowed to (?:push|upload) code|You do not have (?:write|push) access)",
    re.MULTILINE,
)
_UNREACHABLE = re.compile(
    r"Could not resolve|Failed to connect|Couldn't connect|timed? ?out|Connection refused|too slow|hung up"
    r"|returned error: (?:5\d\d|429)"
)


def error_of(report: PushReport, source: CloneSource, provider: ProviderType, branch: str) -> AppError:
    """Build the error for a push that failed."""
    text = f"{report.line}\n{report.said}"
    if _WORKFLOW.search(text):
        message = "The git host wants the scope `workflow` for changes of workflows."
        return GitScopeMissing(message, provider=provider, scopes=("workflow", "Workflows: write"))
    if _MOVED.search(text):
        return branch_moved(branch)
    if _PROTECTED.search(text):
        return GitRefusal(f"The git host protects the branch {branch}.", code=ErrorCode.BRANCH_PROTECTED)
    if _UNAUTHORIZED.search(text):
        return GitProviderAuthentication("The git host refused the token.", provider=provider)
    if _FORBIDDEN.search(text):
        scopes = WRITE_SCOPES[provider]
        message = f"The token may not push to this repository: it needs the scope {' or '.join(scopes)}."
        return GitScopeMissing(message, provider=provider, scopes=scopes)
    if not report.line and _UNREACHABLE.search(text):
        return GitProviderUnavailable("The git host can't be reached, or failed.", provider=provider)
    return GitRefusal(f"The git host rejected the push: {_reason(report, source)}", code=ErrorCode.PUSH_REJECTED)


def branch_moved(branch: str) -> GitRefusal:
    """Build the error for a branch that is not what it should be before a push."""
    message = f"The branch {branch} has commits at the git host that the workspace does not have."
    return GitRefusal(message, code=ErrorCode.BRANCH_MOVED)


def _reason(report: PushReport, source: CloneSource) -> str:
    """Return what git and the host said, on one line, with the token redacted."""
    in_brackets = report.line.rpartition("\t")[2]
    remote = [line.removeprefix("remote:").strip() for line in report.said.splitlines() if line.startswith("remote:")]
    fatal = [line for line in report.said.splitlines() if line.startswith(("fatal:", "error:"))][:1]
    said = " ".join([in_brackets, *[line for line in remote if line][:MAX_REMOTE_LINES]]).strip() or " ".join(fatal)
    redactor = Redactor([source.password] if source.password else [])
    return visible(redactor.text(storable(said)))[:MAX_REASON_CHARACTERS] or "it gave no reason."
