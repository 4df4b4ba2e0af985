"""Alembic's environment and revisions, which ``app.models.migration`` runs at the start of the server."""
