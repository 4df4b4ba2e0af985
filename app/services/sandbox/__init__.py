"""The place of sandboxes: where an agent's commands run."""
