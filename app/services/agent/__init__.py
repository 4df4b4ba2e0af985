"""The agent: its loop, what it is told, and the engine that owns its runs."""
