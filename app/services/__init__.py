"""Use cases. Each opens its own session, acts, commits, and tells others after the commit."""
