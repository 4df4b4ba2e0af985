"""Parley, a GraphQL server for conversations with AI agents. ``app.main`` builds it; ``python -m app`` runs it."""
