"""Clients of git hosts (GitHub, GitLab, Bitbucket) behind one protocol, and cloning with the system's git."""
