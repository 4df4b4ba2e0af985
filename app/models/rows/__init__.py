"""Typed rows of what is read most: conversations and events."""
