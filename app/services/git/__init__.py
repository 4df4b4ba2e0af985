"""The place of git hosts: providers, and the repositories and branches they know."""
