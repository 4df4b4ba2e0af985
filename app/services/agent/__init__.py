"""The agent: its loop, its prompts and tools, and the engine that executes its runs durably."""
