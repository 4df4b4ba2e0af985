"""Pull requests and issues of a fake git host, as the three providers' APIs show them to their author and assignee."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.models.provider_account import ProviderType

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HostedTask:
    """An open pull request of ``owner``, or an issue assigned to them. ``head``: ``None`` if that was deleted."""

    number: int
    owner: str = "ada"
    repository: str = "ada/engine"
    title: str = "A title"
    is_issue: bool = False
    has_conflicts: bool = False
    checks: str | None = None
    """``FAILURE``, ``SUCCESS``, or ``None`` where there are none."""
    unresolved: int = 0
    resolved: int = 0
    branch: str = "topic"
    head: str | None = "ada/engine"


def graphql(provider: ProviderType, login: str | None, tasks: list[HostedTask], query: str) -> object:
    """Answer the GraphQL query for tasks, as GitHub or GitLab do."""
    own = [task for task in tasks if task.owner == login]
    if provider is ProviderType.GITLAB:
        merge_requests = [_merge_request(task) for task in own if not task.is_issue]
        user = {"authoredMergeRequests": {"nodes": merge_requests[:50]}} if login else None
        return {"data": {"currentUser": user}}
    assert "assignee:@me" in query
    # A search shows what the token may not see as null, and other kinds as empty objects.
    issues: list[object] = [_issue(task) for task in own if task.is_issue]
    nothing: list[object] = [{}, None]
    pull_requests = [_pull_request(task) for task in own if not task.is_issue]
    return {
        "data": {
            "viewer": {"pullRequests": {"nodes": [*pull_requests[:50], None]}},
            "search": {"nodes": [*issues[:50], *nothing]},
        }
    }


def rest(path: str, query: Mapping[str, str], login: str, tasks: list[HostedTask]) -> object | None:
    """Answer what GitLab's and Bitbucket's REST APIs tell of tasks; ``None`` for another path."""
    own = [task for task in tasks if task.owner == login]
    if path == "/issues":
        assert (query["scope"], query["state"]) == ("assigned_to_me", "opened")
        return [
            {"iid": task.number, "title": task.title, "references": {"full": f"{task.repository}#{task.number}"}}
            for task in own
            if task.is_issue
        ]
    if listed := re.fullmatch(r"/workspaces/([^/]+)/pullrequests/%7B(.+)%7D", path):
        assert (listed[2], query["state"]) == (login, "OPEN")
        inside = [task for task in own if not task.is_issue and task.repository.startswith(f"{listed[1]}/")]
        return {"values": [_bitbucket(task) for task in inside]}
    if statuses := re.fullmatch(r"/repositories/(.+)/pullrequests/(\d+)/statuses", path):
        [task] = [each for each in own if (each.repository, str(each.number)) == (statuses[1], statuses[2])]
        states = {"FAILURE": ["SUCCESSFUL", "FAILED"], "SUCCESS": ["SUCCESSFUL"], None: []}[task.checks]
        return {"values": [{"state": state} for state in states]}
    return None


def query_of(body: bytes) -> str | None:
    """Return a request's GraphQL query if it asks for tasks."""
    query = str(json.loads(body).get("query"))
    return query if "viewer" in query or "currentUser" in query else None


def _pull_request(task: HostedTask) -> JSON:
    rollup = {"state": task.checks} if task.checks else None
    threads = [{"isResolved": True}] * task.resolved + [{"isResolved": False}] * task.unresolved
    return {
        "number": task.number,
        "title": task.title,
        "mergeable": "CONFLICTING" if task.has_conflicts else "UNKNOWN",
        "headRefName": task.branch,
        "baseRefName": "main",
        "repository": {"nameWithOwner": task.repository},
        "headRepository": {"nameWithOwner": task.head} if task.head else None,
        "commits": {"nodes": [{"commit": {"statusCheckRollup": rollup}}]},
        "reviewThreads": {"nodes": threads[:50]},
    }


def _issue(task: HostedTask) -> JSON:
    return {"number": task.number, "title": task.title, "repository": {"nameWithOwner": task.repository}}


def _merge_request(task: HostedTask) -> JSON:
    status = {"FAILURE": "FAILED", "SUCCESS": "SUCCESS"}.get(task.checks or "")
    return {
        "iid": str(task.number),
        "title": task.title,
        "conflicts": task.has_conflicts,
        "sourceBranch": task.branch,
        "targetBranch": "main",
        "project": {"fullPath": task.repository},
        "sourceProject": {"fullPath": task.head} if task.head else None,
        "headPipeline": {"status": status} if status else None,
        "resolvableDiscussionsCount": task.resolved + task.unresolved,
        "resolvedDiscussionsCount": task.resolved,
    }


def _bitbucket(task: HostedTask) -> JSON:
    return {
        "id": task.number,
        "title": task.title,
        "source": {"branch": {"name": task.branch}, "repository": {"full_name": task.head} if task.head else None},
        "destination": {"branch": {"name": "main"}, "repository": {"full_name": task.repository}},
        "task_count": task.unresolved,
        "comment_count": task.resolved + task.unresolved,
    }
