"""Brings the database to the shape of this release's tables."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

from app.config import ConfigError
from app.models import (
    condensation,
    conversation,
    draft,
    event,
    git_repository,
    idempotency,
    owner,
    provider_account,
    replay,
    settings,
    status_change,
    tool_call,
    workspace_removal,
)
from app.models.database.database import Database

METADATA = SQLModel.metadata
TABLES = (
    condensation,
    conversation,
    draft,
    event,
    git_repository,
    idempotency,
    owner,
    provider_account,
    replay,
    settings,
    status_change,
    tool_call,
    workspace_removal,
)

INDEX_TABLES = "titlegram"
"""What the names of tables begin with that are no models: triggers keep them."""

_LOCK = 0x5061726C6579
"""PostgreSQL advisory lock: instances that start at the same time migrate one after the other."""


def script_directory() -> ScriptDirectory:
    """The revisions that this release knows."""
    return ScriptDirectory.from_config(_alembic_config())


async def upgrade(database: Database, revision: str = "head") -> None:
    """Apply what is missing up to ``revision``, in one transaction. Nothing happens when nothing is missing.

    Raises ConfigError for a database that a newer release has upgraded.
    """
    async with database.writer.begin() as connection:
        await connection.run_sync(_upgrade, revision)


async def downgrade(database: Database, revision: str) -> None:
    """Go back to an earlier revision, ``base`` for none, in one transaction. Rows are lost with their tables."""
    async with database.writer.begin() as connection:
        await connection.run_sync(_downgrade, revision)


async def differences(database: Database) -> list[str]:
    """How the database's tables differ from the models': empty when the migrations are complete."""
    async with database.writer.connect() as connection:
        return await connection.run_sync(_differences)


def _differences(connection: Connection) -> list[str]:
    context = MigrationContext.configure(connection, opts={"include_name": _is_of_models})
    return [repr(found) for found in compare_metadata(context, METADATA)]


def _is_of_models(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name is None or not name.startswith(INDEX_TABLES)


def _upgrade(connection: Connection, revision: str) -> None:
    _lock(connection)
    config = _alembic_config()
    scripts = ScriptDirectory.from_config(config)
    current = set(MigrationContext.configure(connection).get_current_heads())
    unknown = current - {script.revision for script in scripts.walk_revisions()}
    if unknown:
        message = (
            f"The database is of a newer release: this one does not know its revision {', '.join(sorted(unknown))}. "
            "Use that release, or another PARLEY_DATABASE_URL."
        )
        raise ConfigError(message)
    if revision == "head" and current == set(scripts.get_heads()):
        return
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _downgrade(connection: Connection, revision: str) -> None:
    _lock(connection)
    config = _alembic_config()
    config.attributes["connection"] = connection
    command.downgrade(config, revision)


def _lock(connection: Connection) -> None:
    # SQLite's one writer is a lock of its own.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _alembic_config() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
