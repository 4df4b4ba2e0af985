"""Access to SQLite or PostgreSQL: ORM sessions for use cases, and compiled statements on the drivers' connections."""
