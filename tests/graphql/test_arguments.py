"""Every argument of the schema, with each form that a client's list or field may have: none is a failure of ours."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
)

from app.graphql.schema import build_schema
from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer, running_server

SCHEMA = cast("GraphQLSchema", cast("Any", build_schema())._schema)
# How an object with arguments of its own is reached; `{}` is its selection.
ROOTS = {
    "Query": "{}",
    "Mutation": "{}",
    "Subscription": "{}",
    "Conversation": 'conversation(id: "$ID") {{ {} }}',
    "Repository": 'repository(provider: GITHUB, nameWithOwner: "octo/first") {{ {} }}',
    "Viewer": "viewer {{ {} }}",
    "Workspace": 'conversation(id: "$ID") {{ workspace {{ {} }} }}',
    "WorkspaceFile": 'conversation(id: "$ID") {{ workspace {{ file(path: "notes.txt") {{ {} }} }} }}',
    "FileChange": 'conversation(id: "$ID") {{ workspace {{ changes {{ nodes {{ {} }} }} }} }}',
}
SCALARS: dict[str, list[object]] = {
    # `$ID` is a conversation's.
    "ID": ["$ID", "", "nonsense", "\x00", "é" * 1000],
    "String": ["", " ", "octo/first", "\x00", "\ud800", "x" * 5000],
    "Int": [0, -1, 1, 100, 2**31 - 1],
    "Long": [0, -1, 1, 2**31, 2**63 - 1, -(2**63), 2**63, 1.5, "1"],
    "Float": [0, -1.5, 1e308],
    "Boolean": [True, False],
    "DateTime": ["2026-01-31T12:00:00Z", "0001-01-01T00:00:00+23:59", ""],
    "JSON": [{}, [], "", 0, {"version": 1, "events": []}],
    "Secret": ["", "k"],
    "URI": ["", "https://example.com/i.png"],
}


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str) -> Iterator[RunningServer]:
    """A server that knows every git host, on each database."""
    providers = {kind: FakeGitProvider(kind, [repository(1, "octo/first")]) for kind in ProviderType}
    with running_server(data_dir, database_url=database_url, git_providers=providers) as started:
        yield started


def values(of: Any, depth: int = 0) -> list[object]:
    """What a client may give for a type: null, for a list nothing, one, two, one twice and many."""
    # graphql-core leaves open what a list or a required type is of.
    kind: Any = of
    if isinstance(of, GraphQLNonNull):
        return [value for value in values(kind.of_type, depth) if value is not None]
    if isinstance(of, GraphQLList):
        items = values(kind.of_type, depth)
        return [None, [], items[:1], items, items[:1] * 2, items[:1] * 101]
    if isinstance(kind, GraphQLEnumType):
        return [*kind.values, None]
    if isinstance(kind, GraphQLInputObjectType):
        return [*inputs(kind, depth), None]
    return [*SCALARS[kind.name], None]


def inputs(kind: GraphQLInputObjectType, depth: int) -> list[object]:
    """The input with its required fields, and that with each field in each form."""
    fields: dict[str, Any] = {name: field.type for name, field in kind.fields.items()}
    required = {name: values(of, depth + 1)[0] for name, of in fields.items() if isinstance(of, GraphQLNonNull)}
    alone = [{name: value} for name, of in fields.items() for value in values(of, depth + 1)]
    if kind.is_one_of:
        return [given for given in alone if None not in given.values()]
    return [required, *({**required, **given} for given in alone)]


def selection(field: GraphQLField) -> str:
    """Something of what the field gives."""
    kind = cast("object", get_named_type(cast("Any", field).type))
    if is_leaf_type(cast("Any", kind)):
        return ""
    fields: Iterable[str] = kind.fields if isinstance(kind, GraphQLObjectType) else ()
    chosen = [f"{name} {{ __typename }}" for name in ("nodes", "pageInfo", "userErrors") if name in fields]
    return f"{{ __typename {' '.join(chosen)} {'totalCount' if 'totalCount' in fields else ''} }}"


def cases() -> list[tuple[str, str, str]]:
    """Each argument as its type, its field and its name."""
    objects = [kind for kind in SCHEMA.type_map.values() if isinstance(kind, GraphQLObjectType)]
    return [
        (kind.name, name, argument)
        for kind in objects
        if not kind.name.startswith("__")
        for name, field in kind.fields.items()
        for argument in field.args
    ]


def document(root: str, name: str, given: dict[str, Any], conversation_id: str) -> str:
    """An operation that asks for one field with these arguments, each as a variable."""
    declared = ", ".join(f"${argument}: {of}" for argument, of in given.items())
    passed = ", ".join(f"{argument}: ${argument}" for argument in given)
    field = cast("GraphQLObjectType", SCHEMA.type_map[root]).fields[name]
    inner = f"{name}({passed}) {selection(field)}"
    operation = root.lower() if root in {"Mutation", "Subscription"} else "query"
    return f"{operation} ({declared}) {{ {ROOTS[root].format(inner).replace('$ID', conversation_id)} }}"


def variables(root: str, name: str, argument: str, conversation_id: str) -> Iterator[dict[str, object]]:
    """Each form of the argument, beside what else the field wants."""
    given = {other: values(of) for other, of in wanted(root, name, argument).items()}
    required = {other: forms[0] for other, forms in given.items()}
    for value in given[argument]:
        yield json.loads(json.dumps({**required, argument: value}).replace("$ID", conversation_id))


def wanted(root: str, name: str, argument: str) -> dict[str, Any]:
    """The types of the argument, and those without which the field is not valid."""
    arguments = cast("dict[str, Any]", cast("GraphQLObjectType", SCHEMA.type_map[root]).fields[name].args)
    return {
        other: found.type for other, found in arguments.items() if other == argument or str(found.type).endswith("!")
    }


def codes(errors: list[dict[str, Any]]) -> list[str]:
    return [error["extensions"]["code"] for error in errors]


@pytest.mark.parametrize(("root", "name", "argument"), [case for case in cases() if case[0] != "Subscription"])
async def test_no_form_of_an_argument_is_an_internal_error(
    client: Client, llm: ScriptedLLM, root: str, name: str, argument: str
) -> None:
    await steps.save_settings(client, llm)
    await client.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": TOKEN})
    conversation = await steps.create(client)
    if root in {"Workspace", "WorkspaceFile", "FileChange"}:
        await steps.until_waiting(client, conversation["id"])
        (client.server.parley.config.data_dir / "workspaces" / conversation["id"] / "notes.txt").write_text(
            "one\ntwo\n"
        )
    asked = document(root, name, wanted(root, name, argument), conversation["id"])
    for given in variables(root, name, argument, conversation["id"]):
        answer = await client.post(asked, given)
        assert "INTERNAL_ERROR" not in codes(answer.body.get("errors", [])), (asked, given, answer.body)
        assert answer.status < 500, (asked, given)


@pytest.mark.parametrize(("root", "name", "argument"), [case for case in cases() if case[0] == "Subscription"])
async def test_no_form_of_a_subscription_s_argument_is_an_internal_error(
    client: Client, root: str, name: str, argument: str
) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    asked = document(root, name, wanted(root, name, argument), conversation["id"])
    async with client.socket() as socket:
        begun = [
            await socket.subscribe(asked, **given) for given in variables(root, name, argument, conversation["id"])
        ]
        for subscription in begun:
            # Some have something to say, or are refused; the others wait for what comes.
            with suppress(TimeoutError):
                message = await subscription.message(0.3)
                payload = message.get("payload", [])
                said = payload.get("errors", []) if message["type"] == "next" else payload
                assert "INTERNAL_ERROR" not in codes(said), message
        alive = await socket.subscribe("{ __typename }")
        assert await alive.next() == {"__typename": "Query"}
