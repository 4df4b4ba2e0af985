"""A second caller walks the whole schema with the first one's ids, and sees, changes and hears nothing."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
from graphql import GraphQLObjectType
from graphql import build_schema as build_schema_of_sdl

from app.graphql.schema import build_schema
from app.models.provider_account import ProviderType
from tests.support import documents, steps, workspaces
from tests.support.client import NO_TLS, Client, Subscription
from tests.support.fake_git import TOKEN as GIT_TOKEN
from tests.support.fake_git import FakeGitProvider, repository
from tests.support.owned import SECRETIVE, Owned, propose
from tests.support.scripted_llm import Gate, ScriptedLLM, hold
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
SCHEMA = build_schema_of_sdl(build_schema().as_str())
NOT_FOUND = ("NotFoundError", "NOT_FOUND")
WORKSPACE = "query ($id: ID!) { conversation(id: $id) { workspace { id } } }"
REPOSITORY = '{ repository(provider: GITHUB, nameWithOwner: "ada/engine-1") { id defaultBranch { id } } }'


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str) -> Iterator[RunningServer]:
    providers = {ProviderType.GITHUB: FakeGitProvider(found=[repository(1)])}
    with running_server(data_dir, database_url=database_url, git_providers=providers) as started:
        yield started


@pytest.fixture
async def owned(client: Client, llm: ScriptedLLM) -> Owned:
    """A conversation that was answered, and settings with a key."""
    settings = await steps.save_settings(client, llm)
    given = {"provider": "GITHUB", "token": GIT_TOKEN}
    account = (await client.execute(documents.SET_TOKEN, input=given))["setProviderToken"]["providerAccount"]
    seen = (await client.execute(REPOSITORY))["repository"]
    key = str(uuid4())
    conversation = await steps.create(client, SECRETIVE, title=SECRETIVE, idempotencyKey=key)
    await steps.until_waiting(client, conversation["id"])
    page = await client.execute(documents.SEARCH)
    events = await client.execute(documents.EVENTS, id=conversation["id"], first=1)
    workspace = await client.execute(WORKSPACE, id=conversation["id"])
    return Owned(
        client,
        conversation["id"],
        events["conversation"]["events"]["nodes"][0]["id"],
        settings["id"],
        account["id"],
        seen["id"],
        seen["defaultBranch"]["id"],
        workspace["conversation"]["workspace"]["id"],
        client.server.call(propose(client.server, conversation["id"], seen["id"])),
        page["conversations"]["edges"][0]["cursor"],
        events["conversation"]["events"]["edges"][0]["cursor"],
        key,
    )


@pytest.fixture
async def intruder(stranger: Client) -> Client:
    """A second caller with settings of its own."""
    await steps.save_settings(stranger)
    return stranger


async def refused(intruder: Client, document: str, name: str, given: JSON) -> None:
    """The mutation finds nothing."""
    payload = (await intruder.execute(document, input=given))[name]
    assert [(error["__typename"], error["code"]) for error in payload.pop("userErrors")] == [NOT_FOUND]
    assert set(payload.values()) == {None}


async def query_node(intruder: Client, owned: Owned) -> None:
    for owned_id in owned.ids:
        found = await intruder.execute("query ($id: ID!) { node(id: $id) { id __typename } }", id=owned_id)
        assert found == {"node": None}


async def query_nodes(intruder: Client, owned: Owned) -> None:
    own = (await intruder.execute("{ settings { id } }"))["settings"]["id"]
    ids = [own, *owned.ids]
    found = await intruder.execute("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)
    assert found == {"nodes": [{"id": own}, *([None] * len(owned.ids))]}


async def query_conversation(intruder: Client, owned: Owned) -> None:
    for document in (documents.GET, documents.TRAJECTORY, documents.EVENTS):
        assert await intruder.execute(document, id=owned.conversation_id) == {"conversation": None}


async def query_conversations(intruder: Client, owned: Owned) -> None:
    query = """query ($after: String, $filter: ConversationFilter) {
      conversations(first: 100, after: $after, filter: $filter) { totalCount nodes { id } edges { cursor } }
    }"""
    nothing: JSON = {"conversations": {"totalCount": 0, "nodes": [], "edges": []}}
    for wanted in (None, {"titleContains": SECRETIVE}, {"status": ["RUNNING"]}, {"trigger": ["GUI"]}):
        assert await intruder.execute(query, filter=wanted) == nothing
        assert await intruder.execute(query, filter=wanted, after=owned.cursor) == nothing


async def query_settings(intruder: Client, owned: Owned) -> None:
    found = (await intruder.execute("{ settings { id llmModel llmApiKeySet } }"))["settings"]
    assert found.pop("id") != owned.settings_id
    assert found == {"llmModel": "demo/assistant", "llmApiKeySet": False}


async def mutation_create_conversation(intruder: Client, owned: Owned) -> None:
    created = await steps.create(intruder, title="Mine", idempotencyKey=owned.idempotency_key)
    assert created["id"] != owned.conversation_id
    assert created["title"] == "Mine"
    await intruder.execute(documents.DELETE, input={"id": created["id"]})


async def mutation_rename_conversation(intruder: Client, owned: Owned) -> None:
    for title in ("Stolen", None):
        given = {"id": owned.conversation_id, "title": title}
        await refused(intruder, documents.RENAME, "renameConversation", given)


async def mutation_delete_conversation(intruder: Client, owned: Owned) -> None:
    await refused(intruder, documents.DELETE, "deleteConversation", {"id": owned.conversation_id})


async def mutation_update_conversations(intruder: Client, owned: Owned) -> None:
    given = {"ids": [owned.conversation_id], "addTags": ["stolen"], "isPinned": True, "isArchived": True}
    await refused_each(intruder, documents.UPDATE_MANY, "updateConversations", given)


async def mutation_delete_conversations(intruder: Client, owned: Owned) -> None:
    await refused_each(intruder, documents.DELETE_MANY, "deleteConversations", {"ids": [owned.conversation_id]})


async def refused_each(intruder: Client, document: str, field: str, given: JSON) -> None:
    """The single result is that there is no such conversation."""
    payload = (await intruder.execute(document, input=given))[field]
    [[error]] = [result["userErrors"] for result in payload["results"]]
    assert error["__typename"] == "NotFoundError"


async def mutation_mark_read(intruder: Client, owned: Owned) -> None:
    await refused(intruder, documents.MARK_READ, "markRead", {"conversationId": owned.conversation_id})


async def mutation_start_conversation(intruder: Client, owned: Owned) -> None:
    await refused(intruder, documents.START, "startConversation", {"id": owned.conversation_id})


async def mutation_stop_conversation(intruder: Client, owned: Owned) -> None:
    await refused(intruder, documents.STOP, "stopConversation", {"id": owned.conversation_id})


async def mutation_commit_workspace(intruder: Client, owned: Owned) -> None:
    await refused(intruder, documents.COMMIT, "commitWorkspace", {"conversationId": owned.conversation_id})


async def mutation_push_branch(intruder: Client, owned: Owned) -> None:
    given = {"conversationId": owned.conversation_id, "branchName": "stolen"}
    await refused(intruder, documents.PUSH, "pushBranch", given)


async def mutation_create_pull_request(intruder: Client, owned: Owned) -> None:
    given = {"conversationId": owned.conversation_id, "idempotencyKey": owned.idempotency_key}
    await refused(intruder, documents.CREATE_PULL_REQUEST, "createPullRequest", given)


async def mutation_send_message(intruder: Client, owned: Owned) -> None:
    given = {"conversationId": owned.conversation_id, "message": {"text": "Do my work"}}
    await refused(intruder, documents.SEND, "sendMessage", given)
    given["idempotencyKey"] = owned.idempotency_key
    await refused(intruder, documents.SEND, "sendMessage", given)


async def mutation_respond_to_tool_call(intruder: Client, owned: Owned) -> None:
    given = {"conversationId": owned.conversation_id, "toolCallId": owned.event_id, "approved": True}
    await refused(intruder, documents.RESPOND, "respondToToolCall", given)


async def mutation_create_download(intruder: Client, owned: Owned) -> None:
    for wanted in ("ZIP", "TRAJECTORY_JSON"):
        given = {"conversationId": owned.conversation_id, "format": wanted}
        await refused(intruder, workspaces.CREATE_DOWNLOAD, "createDownload", given)


async def mutation_create_upload(intruder: Client, owned: Owned) -> None:
    given = {"conversationId": owned.conversation_id, "path": "a.txt", "sizeBytes": 1}
    await refused(intruder, workspaces.CREATE_UPLOAD, "createUpload", given)


async def mutation_update_settings(intruder: Client, owned: Owned) -> None:
    saved = await steps.save_settings(intruder, maxIterations=7)
    assert saved["id"] != owned.settings_id
    await steps.save_settings(intruder, maxIterations=None)


async def mutation_reset_settings(intruder: Client, owned: Owned) -> None:
    answer = await intruder.execute("mutation { resetSettings { deletedSettingsId } }")
    assert answer["resetSettings"]["deletedSettingsId"] not in {None, owned.settings_id}
    await steps.save_settings(intruder)


async def query_repository(intruder: Client, owned: Owned) -> None:
    """Who sees the same repository sees a row of its own."""
    found = (await intruder.execute(REPOSITORY))["repository"]
    assert found["id"] != owned.repository_id
    query = "query ($filter: ConversationFilter) { conversations(filter: $filter) { totalCount } }"
    for repository_id in (owned.repository_id, found["id"]):
        counted = await intruder.execute(query, filter={"repositoryId": repository_id})
        assert counted == {"conversations": {"totalCount": 0}}


async def query_repositories(intruder: Client, owned: Owned) -> None:
    answer = await intruder.post("{ repositories(provider: GITHUB) { nodes { id } } }")
    assert answer.body["data"] == {"repositories": None}
    found = await intruder.execute('{ repositories(provider: GITHUB, query: "engine") { nodes { id } } }')
    assert [node["id"] == owned.repository_id for node in found["repositories"]["nodes"]] == [False]


async def query_viewer(intruder: Client, owned: Owned) -> None:
    own = (await owned.client.execute("{ viewer { id } }"))["viewer"]["id"]
    answer = await intruder.post("{ viewer { id suggestedTasks(provider: GITHUB) { nodes { id } } } }")
    assert answer.body["data"]["viewer"].pop("id") != own
    assert answer.body["data"] == {"viewer": {"suggestedTasks": None}}


async def mutation_set_provider_token(intruder: Client, owned: Owned) -> None:
    given = {"provider": "GITHUB", "token": GIT_TOKEN}
    account = (await intruder.execute(documents.SET_TOKEN, input=given))["setProviderToken"]["providerAccount"]
    assert account["id"] != owned.provider_account_id


async def mutation_remove_provider_token(intruder: Client, owned: Owned) -> None:
    given = {"provider": "GITHUB"}
    answer = (await intruder.execute(documents.REMOVE_TOKEN, input=given))["removeProviderToken"]
    assert answer["deletedProviderAccountId"] not in {None, owned.provider_account_id}
    again = (await intruder.execute(documents.REMOVE_TOKEN, input=given))["removeProviderToken"]
    assert [error["__typename"] for error in again["userErrors"]] == ["NotFoundError"]


async def stay_silent(*watching: Subscription) -> None:
    for subscription in watching:
        assert await subscription.is_silent(0.2)


async def subscription_status(intruder: Client, owned: Owned) -> None:
    async with AsyncExitStack() as stack:
        watching = [
            await stack.enter_async_context(intruder.subscribe(documents.WATCH_STATUS, ids=ids))
            for ids in (None, [owned.conversation_id])
        ]
        await stay_silent(*watching)
        await owned.client.execute(documents.STOP, input={"id": owned.conversation_id})
        await owned.client.execute(documents.START, input={"id": owned.conversation_id})
        deleted = await steps.create(owned.client)
        await owned.client.execute(documents.DELETE, input={"id": deleted["id"]})
        await stay_silent(*watching)


async def hears_nothing(intruder: Client, owned: Owned, document: str, **variables: object) -> None:
    async with intruder.subscribe(document, id=owned.conversation_id, **variables) as watching:
        payload = (await watching.message())["payload"]
        (error,) = cast("list[JSON]", payload if isinstance(payload, list) else payload["errors"])
        assert error["extensions"]["code"] == "NOT_FOUND"
        assert error["message"] == "The conversation does not exist."
        assert await watching.until_end() == []


async def subscription_events(intruder: Client, owned: Owned) -> None:
    for after in (None, "", owned.event_cursor):
        await hears_nothing(intruder, owned, documents.WATCH_EVENTS, after=after)


async def subscription_deltas(intruder: Client, owned: Owned) -> None:
    await hears_nothing(intruder, owned, documents.WATCH_DELTAS)


async def subscription_tool_output(intruder: Client, owned: Owned) -> None:
    await hears_nothing(intruder, owned, documents.WATCH_TOOL_OUTPUT)


async def subscription_workspace(intruder: Client, owned: Owned) -> None:
    await hears_nothing(intruder, owned, documents.WATCH_WORKSPACE)


WALK: dict[str, Callable[[Client, Owned], Awaitable[None]]] = {
    "Query.node": query_node,
    "Query.nodes": query_nodes,
    "Query.conversation": query_conversation,
    "Query.conversations": query_conversations,
    "Query.settings": query_settings,
    "Query.repository": query_repository,
    "Query.repositories": query_repositories,
    "Query.viewer": query_viewer,
    "Mutation.createConversation": mutation_create_conversation,
    "Mutation.renameConversation": mutation_rename_conversation,
    "Mutation.deleteConversation": mutation_delete_conversation,
    "Mutation.updateConversations": mutation_update_conversations,
    "Mutation.deleteConversations": mutation_delete_conversations,
    "Mutation.markRead": mutation_mark_read,
    "Mutation.startConversation": mutation_start_conversation,
    "Mutation.stopConversation": mutation_stop_conversation,
    "Mutation.sendMessage": mutation_send_message,
    "Mutation.commitWorkspace": mutation_commit_workspace,
    "Mutation.pushBranch": mutation_push_branch,
    "Mutation.createPullRequest": mutation_create_pull_request,
    "Mutation.respondToToolCall": mutation_respond_to_tool_call,
    "Mutation.createDownload": mutation_create_download,
    "Mutation.createUpload": mutation_create_upload,
    "Mutation.updateSettings": mutation_update_settings,
    "Mutation.resetSettings": mutation_reset_settings,
    "Mutation.setProviderToken": mutation_set_provider_token,
    "Mutation.removeProviderToken": mutation_remove_provider_token,
    "Subscription.conversationStatusChanged": subscription_status,
    "Subscription.conversationEvents": subscription_events,
    "Subscription.messageDeltas": subscription_deltas,
    "Subscription.toolOutputDeltas": subscription_tool_output,
    "Subscription.workspaceChanged": subscription_workspace,
}


def root_fields() -> set[str]:
    """Every query, mutation and subscription there is."""
    roots = (SCHEMA.query_type, SCHEMA.mutation_type, SCHEMA.subscription_type)
    return {f"{root.name}.{name}" for root in roots if isinstance(root, GraphQLObjectType) for name in root.fields}


def test_the_walk_leaves_nothing_out() -> None:
    assert set(WALK) == root_fields()


def test_the_walk_has_an_id_of_every_kind() -> None:
    """A new kind of node needs an id of its own in ``Owned``."""
    nodes = {found.name for found in SCHEMA.get_implementations(cast("Any", SCHEMA.type_map["Node"])).objects}
    events = {found.name for found in SCHEMA.get_implementations(cast("Any", SCHEMA.type_map["Event"])).objects}
    assert nodes - events == {
        "Branch",
        "Conversation",
        "ProviderAccount",
        "PullRequest",
        "Repository",
        "Settings",
        "Workspace",
    }


async def test_a_second_caller_sees_changes_and_hears_nothing(owned: Owned, intruder: Client) -> None:
    before = await owned.everything()
    assert SECRETIVE in repr(before)
    for name, step in WALK.items():
        if name != "Subscription.conversationStatusChanged":
            await step(intruder, owned)
            assert await owned.everything() == before, name
    await subscription_status(intruder, owned)
    assert await intruder.execute("{ conversations { totalCount } }") == {"conversations": {"totalCount": 0}}


async def test_a_second_caller_does_not_hear_an_answer_that_is_being_written(
    owned: Owned, intruder: Client, llm: ScriptedLLM
) -> None:
    gate = Gate()
    llm.script(hold(gate, "Hel", after=["lo"]))
    async with owned.client.subscribe(documents.WATCH_DELTAS, id=owned.conversation_id) as own:
        async with owned.client.subscribe(documents.WATCH_STATUS, ids=[owned.conversation_id]) as ready:
            await ready.next()
        await steps.send(owned.client, owned.conversation_id, "More")
        await gate.reached()
        await hears_nothing(intruder, owned, documents.WATCH_DELTAS)
        gate.release()
        assert (await own.next())["messageDeltas"]["text"] in {"Hel", "lo", "Hello"}


async def test_a_second_caller_takes_no_room_from_the_first(owned: Owned, intruder: Client) -> None:
    for _ in range(4):
        # One that starts can't be stopped to make room for the next one.
        await steps.until_waiting(intruder, (await steps.create(intruder))["id"])
    assert (await steps.get(owned.client, owned.conversation_id))["status"] == "RUNNING"


@pytest.mark.parametrize("name", sorted(root_fields()))
async def test_nothing_is_done_for_nobody(server: RunningServer, name: str) -> None:
    root, _, field = name.partition(".")
    document = f"{root.lower()} {{ {field} {{ __typename }} }}"
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as session:
        for headers in ({}, {"Authorization": "Bearer x.y.z"}):
            response = await session.post("/graphql", json={"query": document}, headers=headers)
            assert (response.status_code, list(response.json())) == (401, ["errors"])
