"""API keys and tokens, encrypted at rest and redacted wherever text leaves the server."""
