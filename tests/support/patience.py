"""Bounds on waiting in tests: reached only when what is awaited never comes, so they suit a slow machine."""

# Seconds for one answer, message, state or start of a server.
WAIT_SECONDS = 60.0
# Seconds for a program that a test starts and that does several things.
PROGRAM_SECONDS = 150.0
