"""What many watch in the same way is executed once for all of them."""

# pyright: reportPrivateUsage=false

from contextlib import AsyncExitStack
from typing import Any

import pytest
from graphql.language import OperationType

from app.execution.executor import CompiledExecutor
from tests import documents, steps
from tests.client import Client
from tests.scripted_llm import ScriptedLLM

SAME = 6


@pytest.fixture
def executions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose subscription was executed, once for each event that was."""
    found: list[str] = []
    execute = CompiledExecutor._execute

    def noted(run: CompiledExecutor, serially: bool | None) -> Any:
        if run.operation.operation is OperationType.SUBSCRIPTION:
            found.append(run.context_value.owner_id)
        return execute(run, serially)

    monkeypatch.setattr(CompiledExecutor, "_execute", noted)
    return found


async def test_who_watches_alike_shares_and_who_does_not_gets_its_own(
    client: Client, stranger: Client, llm: ScriptedLLM, executions: list[str]
) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    ids = [conversation["id"]]
    async with AsyncExitStack() as stack:
        alike = [
            await stack.enter_async_context(client.subscribe(documents.WATCH_STATUS, ids=ids)) for _ in range(SAME)
        ]
        all_of_them = await stack.enter_async_context(client.subscribe(documents.WATCH_STATUS))
        other_fields = await stack.enter_async_context(
            client.subscribe("subscription { conversationStatusChanged { conversation { status } } }")
        )
        foreign = await stack.enter_async_context(stranger.subscribe(documents.WATCH_STATUS, ids=ids))
        for watching in (*alike, all_of_them, other_fields):
            assert (await watching.next())["conversationStatusChanged"]["conversation"]["status"] == "RUNNING"
        # Each has a snapshot of its own.
        assert len(executions) == SAME + 2
        executions.clear()
        await client.execute(documents.STOP, input={"id": conversation["id"]})
        changes = [await watching.next() for watching in alike]
        assert all(change == changes[0] for change in changes)
        assert changes[0]["conversationStatusChanged"]["conversation"]["status"] == "STOPPED"
        assert await all_of_them.next() == changes[0]
        assert await other_fields.next() == {"conversationStatusChanged": {"conversation": {"status": "STOPPED"}}}
        assert await foreign.is_silent()
        # One for all that are alike, one for other variables, one for other fields.
        assert len(executions) == 3
        late = await stack.enter_async_context(client.subscribe(documents.WATCH_STATUS, ids=ids))
        snapshot = (await late.next())["conversationStatusChanged"]
        assert (snapshot["previousStatus"], snapshot["conversation"]["status"]) == (None, "STOPPED")
