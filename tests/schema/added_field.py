"""Prints what a new field of conversations is shown as: ``python added_field.py DATABASE``, on a changed `app`."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import strawberry
from sqlalchemy.engine import make_url
from strawberry.schema.config import StrawberryConfig

from app.execution.executor import compiled_executor
from app.models import migration
from app.models.conversation import Conversation
from app.models.database.database import Database
from app.models.owner import OwnerRepository
from app.models.rows.conversation import ConversationRows
from app.models.search.query import ConversationQuery
from app.schema import conversation as schema
from app.schema.conversation_connection import RowConnection
from app.schema.rows.conversation import columns_for
from app.schema.scalar import SCALARS
from app.services.conversation import ConversationPage

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEXT = "{ conversations { nodes { titleRevision } } }"


async def main(path: str) -> list[object]:
    """The answers to the query, before and after it is compiled."""
    database = Database(make_url(f"sqlite+aiosqlite:///{path}"))
    await migration.upgrade(database)
    async with database.write() as session:
        await OwnerRepository(session).ensure("ada", NOW)
        fields: dict[str, Any] = {
            "title": "t",
            "title_folded": "t",
            "title_revision": 7,
            "status": "RUNNING",
            "trigger": "GUI",
        }
        session.add(Conversation(id=UUID(int=1), owner_id="ada", created_at=NOW, updated_at=NOW, **fields))
    query = ConversationQuery(first=1)
    columns = columns_for(frozenset({"conversations", "nodes", "titleRevision"}))
    page = ConversationPage(await ConversationRows(database).search("ada", query, columns), has_next_page=False)
    await database.close()

    @strawberry.type
    class Query:
        @strawberry.field
        def conversations(self) -> schema.ConversationConnection:
            return RowConnection.of(page, query)

    answers: list[object] = []
    for executor in (None, compiled_executor(10**6)):
        built = strawberry.Schema(Query, config=StrawberryConfig(scalar_map=SCALARS), execution_context_class=executor)
        for _ in range(3):
            result = built.execute_sync(TEXT)
            answers.append(result.data or str(result.errors))
    return answers


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
