"""Sandboxes that isolate an agent's commands, by bubblewrap or Docker, with limits on all resources."""
