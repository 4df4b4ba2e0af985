"""Typed rows for the most frequent reads: conversations and events."""
