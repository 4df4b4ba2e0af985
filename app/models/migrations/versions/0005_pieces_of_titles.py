"""Create the n-gram index by which ``titleContains`` finds conversations (ADR 0014).

Its tables are no models: triggers keep them, and ``app.models.search.title_grams`` asks them. A later migration that
makes the table of conversations anew on SQLite, as Alembic does to alter a column, has to make the triggers anew too.
"""

# ruff: noqa: S608  The statements are put together from constants.

import structlog
from alembic import op
from sqlalchemy import text

from app.config import ConfigError

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

log = structlog.get_logger(__name__)

# Rows that PostgreSQL indexes in one statement, which has 30 seconds for it.
_BATCH = 2000


def _terms(title: str) -> str:
    """SQL for a title's terms: up to 8 bytes in hexadecimal from each byte on."""
    return f"""(
        SELECT group_concat(substr(title.bytes, place.digit, 16), ' ')
        FROM (SELECT hex({title}) AS bytes) AS title, titlegram_place AS place
        WHERE place.digit <= 2 * length(CAST({title} AS BLOB))
    )"""


# VACUUM may change the numbers that SQLite gives rows by itself, so the index has its own. An owner's numbers lie side
# by side: 2 ** 32 for each.
_SQLITE_TABLES = (
    "CREATE TABLE titlegram_owner (number INTEGER PRIMARY KEY, owner_id VARCHAR(200) NOT NULL UNIQUE)",
    "CREATE TABLE titlegram_row (number INTEGER PRIMARY KEY, conversation_id CHAR(32) NOT NULL UNIQUE)",
    # What the index does not have as it is now: it has this title, or none.
    "CREATE TABLE titlegram_stale (number INTEGER PRIMARY KEY, title_folded VARCHAR(600))",
    # Where the bytes of a title begin. It has 200 characters, and folded 600 at the most.
    "CREATE TABLE titlegram_place (digit INTEGER PRIMARY KEY)",
    """
    INSERT INTO titlegram_place
    WITH RECURSIVE place (digit) AS (SELECT 1 UNION ALL SELECT digit + 2 FROM place WHERE digit < 4799)
    SELECT digit FROM place
    """,
    # The beginnings of terms that are indexed too: 1, 2, 3 and 4 bytes.
    """
    CREATE VIRTUAL TABLE titlegram USING fts5 (
        terms, tokenize = 'ascii', content = '', detail = none, columnsize = 0, prefix = '2 4 6 8'
    )
    """,
)

_SQLITE_ROWS = (
    # Fewer segments to merge while it is filled.
    "INSERT INTO titlegram (titlegram, rank) VALUES ('hashsize', 33554432)",
    "INSERT INTO titlegram_owner (owner_id) SELECT DISTINCT owner_id FROM conversation ORDER BY owner_id",
    """
    INSERT INTO titlegram_row (number, conversation_id)
    SELECT (owner.number << 32) + row_number() OVER (PARTITION BY owner_id ORDER BY created_at, id), conversation.id
    FROM conversation JOIN titlegram_owner AS owner USING (owner_id)
    """,
    f"""
    INSERT INTO titlegram (rowid, terms) SELECT number, {_terms("title_folded")}
    FROM titlegram_row CROSS JOIN conversation ON id = conversation_id ORDER BY number
    """,
    "INSERT INTO titlegram (titlegram, rank) VALUES ('hashsize', 1048576)",
)

# A change to a title is only noted: to index it takes as much as the change itself, or twice as much on PostgreSQL.
# Deleting the note brings the index up to date.
_SQLITE_TRIGGERS = (
    """
    CREATE TRIGGER titlegram_insert AFTER INSERT ON conversation BEGIN
        INSERT INTO titlegram_owner (owner_id) SELECT new.owner_id
        WHERE NOT EXISTS (SELECT 1 FROM titlegram_owner WHERE owner_id = new.owner_id);
        INSERT INTO titlegram_row (number, conversation_id)
        SELECT 1 + coalesce(
            (SELECT max(number) FROM titlegram_row
             WHERE number > (owner.number << 32) AND number < ((owner.number + 1) << 32)),
            owner.number << 32
        ), new.id
        FROM titlegram_owner AS owner WHERE owner_id = new.owner_id;
        INSERT INTO titlegram_stale (number) SELECT number FROM titlegram_row WHERE conversation_id = new.id;
    END
    """,
    """
    CREATE TRIGGER titlegram_update AFTER UPDATE OF title_folded ON conversation
    WHEN old.title_folded IS NOT new.title_folded BEGIN
        INSERT OR IGNORE INTO titlegram_stale (number, title_folded)
        SELECT number, old.title_folded FROM titlegram_row WHERE conversation_id = old.id;
    END
    """,
    f"""
    CREATE TRIGGER titlegram_catch_up BEFORE DELETE ON titlegram_stale BEGIN
        INSERT INTO titlegram (titlegram, rowid, terms) SELECT 'delete', old.number, {_terms("old.title_folded")}
        WHERE old.title_folded IS NOT NULL;
        INSERT INTO titlegram (rowid, terms) SELECT number, {_terms("conversation.title_folded")}
        FROM titlegram_row JOIN conversation ON id = conversation_id WHERE number = old.number;
    END
    """,
    f"""
    CREATE TRIGGER titlegram_delete BEFORE DELETE ON conversation BEGIN
        DELETE FROM titlegram_stale
        WHERE number = (SELECT number FROM titlegram_row WHERE conversation_id = old.id);
        INSERT INTO titlegram (titlegram, rowid, terms) SELECT 'delete', number, {_terms("old.title_folded")}
        FROM titlegram_row WHERE conversation_id = old.id;
        DELETE FROM titlegram_row WHERE conversation_id = old.id;
    END
    """,
)

# An index of the conversations themselves would be written again with each change to any of their columns. What the
# functions cost is told so that the index is asked, rather than each title. Who asks for keys gets no parallel plan: to
# start its workers takes ten milliseconds, for a page that takes a quarter of one.
_POSTGRESQL = (
    """
    CREATE TABLE titlegram (
        conversation_id UUID PRIMARY KEY REFERENCES conversation (id) ON DELETE CASCADE,
        owner_id VARCHAR(200) NOT NULL,
        title_folded VARCHAR(600) COLLATE "C" NOT NULL
    )
    """,
    """
    CREATE FUNCTION titlegram_keys(owner_id text, pieces text[]) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL UNSAFE COST 1000 AS $$
        SELECT coalesce(array_agg(hashtextextended(piece COLLATE "C", seed)), '{}')
        FROM unnest(pieces) AS piece, hashtextextended(owner_id COLLATE "C", 0) AS seed
    $$
    """,
    """
    CREATE FUNCTION titlegram_pieces(owner_id text, title text) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
        SELECT coalesce(array_agg(hashtextextended(substr(title, place, size) COLLATE "C", seed)), '{}')
        FROM generate_series(1, length(title)) AS place, unnest(ARRAY[1, 2, 3, 4, 8]) AS size,
            hashtextextended(owner_id COLLATE "C", 0) AS seed
        WHERE place + size <= length(title) + 1
    $$
    """,
    # Titles that wait to be indexed save time while the table is filled; later, each search would read them.
    """
    CREATE INDEX ix_titlegram_pieces ON titlegram
    USING gin (titlegram_pieces(owner_id, title_folded)) WITH (fastupdate = on)
    """,
    """
    CREATE TABLE titlegram_stale (
        conversation_id UUID PRIMARY KEY REFERENCES conversation (id) ON DELETE CASCADE,
        owner_id VARCHAR(200) NOT NULL
    )
    """,
    "CREATE INDEX ix_titlegram_stale_owner ON titlegram_stale (owner_id)",
    # A note that is being deleted is waited for and made again, since the index may have got an older title.
    """
    CREATE FUNCTION titlegram_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO titlegram_stale (conversation_id, owner_id) VALUES (NEW.id, NEW.owner_id)
        ON CONFLICT (conversation_id) DO UPDATE SET owner_id = EXCLUDED.owner_id;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER titlegram_insert AFTER INSERT ON conversation FOR EACH ROW EXECUTE FUNCTION titlegram_note()",
    """
    CREATE TRIGGER titlegram_update AFTER UPDATE OF title_folded ON conversation
    FOR EACH ROW WHEN (OLD.title_folded IS DISTINCT FROM NEW.title_folded) EXECUTE FUNCTION titlegram_note()
    """,
    """
    CREATE FUNCTION titlegram_catch_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO titlegram (conversation_id, owner_id, title_folded)
        SELECT id, owner_id, title_folded FROM conversation WHERE id = OLD.conversation_id
        ON CONFLICT (conversation_id) DO UPDATE SET title_folded = EXCLUDED.title_folded;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER titlegram_catch_up AFTER DELETE ON titlegram_stale
    FOR EACH ROW EXECUTE FUNCTION titlegram_catch_up()
    """,
)

_POSTGRESQL_BATCH = """
    WITH batch AS (
        SELECT id, owner_id, title_folded FROM conversation WHERE id > CAST(:after AS uuid) ORDER BY id LIMIT :size
    ), filled AS (
        INSERT INTO titlegram (conversation_id, owner_id, title_folded) SELECT * FROM batch
    )
    SELECT CAST(id AS text) FROM batch ORDER BY id DESC LIMIT 1
"""


def upgrade() -> None:
    connection = op.get_bind()
    count = connection.scalar(text("SELECT count(*) FROM conversation"))
    if count:
        # A million took 24 s on SQLite, and 103 s on PostgreSQL.
        log.info("titles.indexing", conversations=count)
    if connection.dialect.name == "sqlite":
        if not connection.scalar(text("SELECT count(*) FROM pragma_module_list WHERE name = 'fts5'")):
            message = "Python's SQLite has no FTS5, which titles are found with. Use another Python, or PostgreSQL."
            raise ConfigError(message)
        for statement in (*_SQLITE_TABLES, *_SQLITE_ROWS, *_SQLITE_TRIGGERS):
            op.execute(statement)
        return
    for statement in _POSTGRESQL:
        op.execute(statement)
    after: str | None = "00000000-0000-0000-0000-000000000000"
    while after is not None:
        after = connection.scalar(text(_POSTGRESQL_BATCH), {"after": after, "size": _BATCH})
    op.execute("ALTER INDEX ix_titlegram_pieces SET (fastupdate = off)")
    op.execute("SELECT gin_clean_pending_list('ix_titlegram_pieces')")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for trigger in ("titlegram_insert", "titlegram_update", "titlegram_delete"):
            op.execute(f"DROP TRIGGER {trigger}")
        # The notes go first, with their trigger: they would be worked off otherwise.
        op.execute("DROP TRIGGER titlegram_catch_up")
        for table in ("titlegram_stale", "titlegram", "titlegram_place", "titlegram_row", "titlegram_owner"):
            op.execute(f"DROP TABLE {table}")
        return
    for trigger in ("titlegram_insert", "titlegram_update"):
        op.execute(f"DROP TRIGGER {trigger} ON conversation")
    op.execute("DROP TABLE titlegram_stale")
    op.execute("DROP TABLE titlegram")
    for function in (
        "titlegram_note()",
        "titlegram_catch_up()",
        "titlegram_pieces(text, text)",
        "titlegram_keys(text, text[])",
    ):
        op.execute(f"DROP FUNCTION {function}")
