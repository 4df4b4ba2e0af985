"""Finds suggested tasks with the API of each git provider."""
