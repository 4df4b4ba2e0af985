"""Resolvers of root fields: each converts its arguments, calls one use case, and converts the result."""

from app.resolvers import (
    commit,
    conversation,
    conversation_batch,
    download,
    event,
    node,
    provider_account,
    pull_request,
    pushed_branch,
    read_mark,
    repository,
    settings,
    tool_call,
    upload,
    workspace,
)

__all__ = [
    "commit",
    "conversation",
    "conversation_batch",
    "download",
    "event",
    "node",
    "provider_account",
    "pull_request",
    "pushed_branch",
    "read_mark",
    "repository",
    "settings",
    "tool_call",
    "upload",
    "workspace",
]
