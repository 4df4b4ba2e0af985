"""Handling of API keys and tokens: encryption at rest, and redaction in all text that is stored or sent."""
