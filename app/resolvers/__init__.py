"""One thin call each: from arguments to a use case, and from its result to a payload."""

from app.resolvers import conversation, event, node, provider_account, repository, settings, tool_call

__all__ = ["conversation", "event", "node", "provider_account", "repository", "settings", "tool_call"]
