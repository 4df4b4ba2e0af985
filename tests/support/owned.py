"""Everything of a caller's that another caller might ask for, by its id."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.models.pull_request import PullRequest
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.server import RunningServer

JSON = dict[str, Any]
SECRETIVE = "the-first-callers-own-words"


@dataclass
class Owned:
    """Ids and cursors of one object of each type, which the first caller owns."""

    client: Client
    conversation_id: str
    event_id: str
    settings_id: str
    provider_account_id: str
    repository_id: str
    branch_id: str
    workspace_id: str
    pull_request_id: str
    cursor: str
    event_cursor: str
    idempotency_key: str

    @property
    def ids(self) -> list[str]:
        """The id of one object of each type."""
        return [
            self.conversation_id,
            self.event_id,
            self.settings_id,
            self.provider_account_id,
            self.repository_id,
            self.branch_id,
            self.workspace_id,
            self.pull_request_id,
        ]

    async def everything(self) -> JSON:
        """All that its owner can read of it."""
        exported = await self.client.execute(documents.TRAJECTORY, id=self.conversation_id)
        exported["conversation"]["trajectory"].pop("exportedAt")
        return {
            "settings": await self.client.execute(
                "{ settings { id llmModel llmBaseUrl llmApiKeySet maxIterations providerAccounts { id login } } }"
            ),
            "list": await self.client.execute(documents.SEARCH),
            "events": await steps.events(self.client, self.conversation_id),
            "trajectory": exported,
        }


async def propose(server: RunningServer, conversation_id: str, repository_id: str) -> str:
    """Store a pull request, as if it had been created for the conversation; its id."""
    now = datetime.now(UTC)
    row = PullRequest(
        conversation_id=UUID(conversation_id),
        repository_id=UUID(repository_id.removeprefix("repository:")),
        number=1,
        url="https://git.example.com/pull/1",
        state="OPEN",
        title=SECRETIVE,
        head_branch_name="fix",
        base_branch_name="main",
        is_draft=False,
        created_at=now,
        seen_at=now,
    )
    async with server.parley.database.write() as session:
        session.add(row)
    return f"pull_request:{row.id}"
