"""Runs the Alembic migrations at the start, and compares the database's tables with the models."""

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
    merge_base,
    owner,
    provider_account,
    pull_request,
    pushed_branch,
    replay,
    settings,
    status_change,
    tag,
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
    merge_base,
    pull_request,
    pushed_branch,
    replay,
    settings,
    status_change,
    tag,
    tool_call,
    workspace_removal,
)

INDEX_TABLES = "titlegram"
"""Name prefix of the n-gram index's tables, which have no models, since only triggers write them."""

_LOCK = 0x5061726C6579
"""PostgreSQL advisory lock: instances that start at the same time migrate one after the other."""


def script_directory() -> ScriptDirectory:
    """Open the directory of this release's revisions."""
    return ScriptDirectory.from_config(_alembic_config())


async def upgrade(database: Database, revision: str = "head") -> None:
    """Apply the missing revisions up to ``revision``, in one transaction.

    Raises ConfigError for a database that a newer release has upgraded.
    """
    async with database.writer.begin() as connection:
        await connection.run_sync(_upgrade, revision)


async def downgrade(database: Database, revision: str) -> None:
    """Revert to an earlier revision, in one transaction; ``base`` drops all tables, with their rows."""
    async with database.writer.begin() as connection:
        await connection.run_sync(_downgrade, revision)


async def differences(database: Database) -> list[str]:
    """List Alembic's differences between the database's tables and the models; empty if migrations are complete."""
    async with database.writer.connect() as connection:
        return await connection.run_sync(_differences)


def _differences(connection: Connection) -> list[str]:
    context = MigrationContext.configure(connection, opts={"include_name": _is_of_models})
    return [repr(difference) for difference in compare_metadata(context, METADATA)]


def _is_of_models(name: str | None, object_type: str, _parents: object) -> bool:
    return object_type != "table" or name is None or not name.startswith(INDEX_TABLES)


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
    # SQLite allows only one writer, so it needs no such lock.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _alembic_config() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
