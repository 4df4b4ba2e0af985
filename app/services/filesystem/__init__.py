"""Safe access to workspaces on disk: reading, writing, measuring and removing files that untrusted commands created."""
