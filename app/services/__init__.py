"""Use cases of the application. Each opens its own session, acts, commits, and publishes wake-ups after the commit."""
