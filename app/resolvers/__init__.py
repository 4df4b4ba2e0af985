"""Resolvers of root fields: each converts its arguments, calls one use case, and converts the result."""

from app.resolvers import (
    conversation,
    download,
    event,
    node,
    provider_account,
    repository,
    settings,
    tool_call,
    upload,
    workspace,
)

__all__ = [
    "conversation",
    "download",
    "event",
    "node",
    "provider_account",
    "repository",
    "settings",
    "tool_call",
    "upload",
    "workspace",
]
