"""Alembic migrations: run by ``app.models.migration``."""
