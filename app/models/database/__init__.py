"""The database, SQLite or PostgreSQL: sessions for use cases, and compiled statements on the drivers' connections."""
